"""First tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "admission_hours",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "hour", "kind", name=op.f("pk_admission_hours")),
    )
    op.create_index(op.f("ix_admission_hours_hour"), "admission_hours", ["hour"], unique=False)
    op.create_table(
        "admissions",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("admission_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("way_in", TEXT, nullable=False),
        sa.Column("claims", TEXT, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("input_digest", TEXT, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("late", TEXT, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.BigInteger(), nullable=False),
        sa.Column("uid", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("app_id", "admission_id", name=op.f("pk_admissions")),
    )
    op.create_index(
        op.f("ix_admissions_app_id_opened_at_admission_id"),
        "admissions",
        ["app_id", "opened_at", "admission_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_admissions_app_id_user_id_opened_at_admission_id"),
        "admissions",
        ["app_id", "user_id", "opened_at", "admission_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_admissions_app_id_way_in_opened_at_admission_id"),
        "admissions",
        ["app_id", "way_in", "opened_at", "admission_id"],
        unique=False,
    )
    op.create_index(
        "ix_admissions_claims_of_refused",
        "admissions",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("verdict = 'refused' AND claims != ''"),
        sqlite_where=sa.text("verdict = 'refused' AND claims != ''"),
    )
    op.create_index(
        "ix_admissions_refused",
        "admissions",
        ["app_id", "opened_at", "admission_id"],
        unique=False,
        postgresql_where=sa.text("verdict = 'refused'"),
        sqlite_where=sa.text("verdict = 'refused'"),
    )
    op.create_index(
        "uq_admissions_open",
        "admissions",
        ["app_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("settled_at IS NULL"),
        sqlite_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "apps",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("user_ids", TEXT, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("policies", TEXT, nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_apps")),
        sa.UniqueConstraint("name", name=op.f("uq_apps_name")),
    )
    op.create_table(
        "attempts",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("job_id", TEXT, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("headers", TEXT, nullable=False),
        sa.Column("reply", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "job_id", "attempt", name=op.f("pk_attempts")),
    )
    op.create_table(
        "campaigns",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("campaign_id", TEXT, nullable=False),
        sa.Column("endpoint_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("of", TEXT, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("cursor", TEXT, nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.Column("per_minute", sa.BigInteger(), nullable=True),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("missed", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "campaign_id", name=op.f("pk_campaigns")),
    )
    op.create_index(
        op.f("ix_campaigns_app_id_endpoint_id_campaign_id"),
        "campaigns",
        ["app_id", "endpoint_id", "campaign_id"],
        unique=False,
    )
    op.create_table(
        "change_hooks",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("endpoint_id", TEXT, nullable=False),
        sa.Column("told_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "endpoint_id", name=op.f("pk_change_hooks")),
    )
    op.create_table(
        "clients",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("client_id", TEXT, nullable=False),
        sa.Column("secret_digest", TEXT, nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("secret_changed_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "client_id", name=op.f("pk_clients")),
    )
    op.create_table(
        "data_apps",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("tells", TEXT, nullable=False),
        sa.Column("model_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_data_apps")),
    )
    op.create_table(
        "data_models",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_data_models")),
    )
    op.create_table(
        "data_pushes",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("piece", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "uid", "client", "piece", name=op.f("pk_data_pushes")),
    )
    op.create_table(
        "data_realms",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("realm", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "realm", name=op.f("pk_data_realms")),
    )
    op.create_table(
        "data_tables",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("primary_key", TEXT, nullable=False),
        sa.Column("id_prefix", TEXT, nullable=False),
        sa.Column("generated", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "name", name=op.f("pk_data_tables")),
    )
    op.create_table(
        "devices",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=False),
        sa.Column("derived", TEXT, nullable=False),
        sa.Column("key_thumbprint", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("about", TEXT, nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "uid", "device_id", name=op.f("pk_devices")),
    )
    op.create_index(
        op.f("ix_devices_app_id_device_id_uid"), "devices", ["app_id", "device_id", "uid"], unique=False
    )
    op.create_table(
        "email_codes",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("otp_id", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.Column("acting_for", TEXT, nullable=False),
        sa.Column("intent", TEXT, nullable=False),
        sa.Column("network", TEXT, nullable=False),
        sa.Column("code_digest", TEXT, nullable=False),
        sa.Column("guesses", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("spent_by", TEXT, nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "otp_id", name=op.f("pk_email_codes")),
    )
    op.create_index(op.f("ix_email_codes_expires_at"), "email_codes", ["expires_at"], unique=False)
    op.create_table(
        "endpoint_secrets",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("endpoint_id", TEXT, nullable=False),
        sa.Column("secret_id", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "endpoint_id", "secret_id", name=op.f("pk_endpoint_secrets")),
    )
    op.create_table(
        "endpoints",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("endpoint_id", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("sealed_headers", TEXT, nullable=True),
        sa.Column("retry_delays", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("told_from", sa.BigInteger(), nullable=False),
        sa.Column("caught_up_to", sa.BigInteger(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("noticed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "endpoint_id", name=op.f("pk_endpoints")),
    )
    op.create_table(
        "enrollment_token_uses",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("key_thumbprint", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "app_id", "token_id", "key_thumbprint", name=op.f("pk_enrollment_token_uses")
        ),
    )
    op.create_index(
        op.f("ix_enrollment_token_uses_app_id_uid"), "enrollment_token_uses", ["app_id", "uid"], unique=False
    )
    op.create_table(
        "enrollment_tokens",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=True),
        sa.Column("uses_max", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("client_id", TEXT, nullable=True),
        sa.Column("client_since", sa.BigInteger(), nullable=True),
        sa.Column("operator_token_id", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("app_id", "token_id", name=op.f("pk_enrollment_tokens")),
        sa.UniqueConstraint("app_id", "digest", name=op.f("uq_enrollment_tokens_app_id_digest")),
    )
    op.create_index(
        op.f("ix_enrollment_tokens_app_id_uid_token_id"),
        "enrollment_tokens",
        ["app_id", "uid", "token_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_enrollment_tokens_expires_at"), "enrollment_tokens", ["expires_at"], unique=False
    )
    op.create_table(
        "event_logs",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("epoch", TEXT, nullable=False),
        sa.Column("audience", TEXT, nullable=False),
        sa.Column("forgotten", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_event_logs")),
    )
    op.create_table(
        "events",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=True),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "position", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_app_id_event_id"), "events", ["app_id", "event_id"], unique=False)
    op.create_index(
        op.f("ix_events_app_id_uid_position"), "events", ["app_id", "uid", "position"], unique=False
    )
    op.create_table(
        "former_keys",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("key_thumbprint", TEXT, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "session_id", name=op.f("pk_former_keys")),
    )
    op.create_index(op.f("ix_former_keys_app_id_uid"), "former_keys", ["app_id", "uid"], unique=False)
    op.create_index(op.f("ix_former_keys_until"), "former_keys", ["until"], unique=False)
    op.create_table(
        "hook_secrets",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("secret_id", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "secret_id", name=op.f("pk_hook_secrets")),
    )
    op.create_table(
        "hosts",
        sa.Column("host", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_hosts")),
    )
    op.create_index(op.f("ix_hosts_app_id_host"), "hosts", ["app_id", "host"], unique=False)
    op.create_table(
        "id_keys",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_id_keys")),
    )
    op.create_table(
        "identities",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index(op.f("ix_identities_app_id_uid"), "identities", ["app_id", "uid"], unique=False)
    op.create_table(
        "job_hours",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "lane", "hour", "slot", name=op.f("pk_job_hours")),
    )
    op.create_index(op.f("ix_job_hours_hour"), "job_hours", ["hour"], unique=False)
    op.create_table(
        "job_line_heads",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_job_line_heads")),
    )
    op.create_table(
        "job_lines",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("job_id", TEXT, nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.Column("level", TEXT, nullable=False),
        sa.Column("line", TEXT, nullable=False),
        sa.Column("fields", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "position", name=op.f("pk_job_lines")),
        sa.UniqueConstraint(
            "app_id", "job_id", "fence", "number", name=op.f("uq_job_lines_app_id_job_id_fence_number")
        ),
    )
    op.create_index(
        op.f("ix_job_lines_app_id_lane_position"), "job_lines", ["app_id", "lane", "position"], unique=False
    )
    op.create_table(
        "job_links",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("about", TEXT, nullable=False),
        sa.Column("job_id", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "about", "created_at", "job_id", name=op.f("pk_job_links")),
    )
    op.create_index(op.f("ix_job_links_app_id_job_id"), "job_links", ["app_id", "job_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("job_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("payload", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("again", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("earlier", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=False),
        sa.Column("out_of_order", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "job_id", name=op.f("pk_jobs")),
    )
    op.create_index(
        op.f("ix_jobs_app_id_lane_created_at_job_id"),
        "jobs",
        ["app_id", "lane", "created_at", "job_id"],
        unique=False,
    )
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["kind", "lane", "again", "due_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
        sqlite_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["app_id", "lane", "failed_at"],
        unique=False,
        postgresql_where=sa.text("failed_at IS NOT NULL"),
        sqlite_where=sa.text("failed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_order",
        "jobs",
        ["app_id", "subject", "lane", "turn"],
        unique=False,
        postgresql_where=sa.text("subject IS NOT NULL AND finished_at IS NULL"),
        sqlite_where=sa.text("subject IS NOT NULL AND finished_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_subject",
        "jobs",
        ["app_id", "subject", "created_at", "job_id"],
        unique=False,
        postgresql_where=sa.text("subject IS NOT NULL"),
        sqlite_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "journey_keys",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("published_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "key_id", name=op.f("pk_journey_keys")),
    )
    op.create_table(
        "known_networks",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "place", name=op.f("pk_known_networks")),
    )
    op.create_index(op.f("ix_known_networks_until"), "known_networks", ["until"], unique=False)
    op.create_table(
        "lanes",
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("closed", TEXT, nullable=False),
        sa.Column("at_once_max", sa.BigInteger(), nullable=True),
        sa.Column("per_minute", sa.BigInteger(), nullable=True),
        sa.Column("next_start_us", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_lanes")),
    )
    op.create_index(op.f("ix_lanes_app_id_lane"), "lanes", ["app_id", "lane"], unique=False)
    op.create_table(
        "limits",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("bucket", TEXT, nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "bucket", "window_end", name=op.f("pk_limits")),
    )
    op.create_index(op.f("ix_limits_window_end"), "limits", ["window_end"], unique=False)
    op.create_table(
        "mail_servers",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_mail_servers")),
    )
    op.create_table(
        "names",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_names")),
    )
    op.create_index(op.f("ix_names_app_id_name"), "names", ["app_id", "name"], unique=False)
    op.create_table(
        "notices",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("notice_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "notice_id", name=op.f("pk_notices")),
    )
    op.create_table(
        "objects",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("table_name", TEXT, nullable=False),
        sa.Column("realm", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("writer", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("history", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("app_id", "table_name", "realm", "key", name=op.f("pk_objects")),
    )
    op.create_index(
        op.f("ix_objects_app_id_table_name_key_realm"),
        "objects",
        ["app_id", "table_name", "key", "realm"],
        unique=False,
    )
    op.create_index(
        op.f("ix_objects_history_app_id_revision"), "objects", ["history", "app_id", "revision"], unique=False
    )
    op.create_table(
        "operator_challenges",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("details", TEXT, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_operator_challenges")),
    )
    op.create_index(
        op.f("ix_operator_challenges_expires_at"), "operator_challenges", ["expires_at"], unique=False
    )
    op.create_table(
        "operator_changes",
        sa.Column("change_id", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who_kind", TEXT, nullable=False),
        sa.Column("who_id", TEXT, nullable=False),
        sa.Column("who_label", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("query", TEXT, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
        sa.Column("before", TEXT, nullable=False),
        sa.Column("after", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_operator_changes")),
    )
    op.create_index(
        "ix_operator_changes_app", "operator_changes", ["app_id", "at", "change_id"], unique=False
    )
    op.create_index("ix_operator_changes_at", "operator_changes", ["at", "change_id"], unique=False)
    op.create_index(
        "ix_operator_changes_who", "operator_changes", ["who_id", "at", "change_id"], unique=False
    )
    op.create_table(
        "operator_links",
        sa.Column("link_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("operator_id", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_operator_links")),
        sa.UniqueConstraint("digest", name=op.f("uq_operator_links_digest")),
    )
    op.create_index(op.f("ix_operator_links_expires_at"), "operator_links", ["expires_at"], unique=False)
    op.create_index(op.f("ix_operator_links_operator_id"), "operator_links", ["operator_id"], unique=False)
    op.create_table(
        "operator_passkeys",
        sa.Column("passkey_id", TEXT, nullable=False),
        sa.Column("operator_id", TEXT, nullable=False),
        sa.Column("credential_id", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("passkey_id", name=op.f("pk_operator_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_operator_passkeys_credential_id")),
    )
    op.create_index(
        op.f("ix_operator_passkeys_operator_id"), "operator_passkeys", ["operator_id"], unique=False
    )
    op.create_table(
        "operator_sessions",
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("operator_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("user_agent", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_operator_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_operator_sessions_digest")),
    )
    op.create_index(
        op.f("ix_operator_sessions_operator_id"), "operator_sessions", ["operator_id"], unique=False
    )
    op.create_index(op.f("ix_operator_sessions_seen_at"), "operator_sessions", ["seen_at"], unique=False)
    op.create_table(
        "operator_tokens",
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=True),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_operator_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_operator_tokens_digest")),
    )
    op.create_table(
        "operators",
        sa.Column("operator_id", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("password", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=True),
        sa.Column("deactivated_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("operator_id", name=op.f("pk_operators")),
        sa.UniqueConstraint("email", name=op.f("uq_operators_email")),
    )
    op.create_table(
        "origins",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "origin", name=op.f("pk_origins")),
    )
    op.create_table(
        "owners",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "email", name=op.f("pk_owners")),
    )
    op.create_table(
        "providers",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("setting", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "name", name=op.f("pk_providers")),
    )
    op.create_table(
        "readied",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("realm", TEXT, nullable=False),
        sa.Column("hook", TEXT, nullable=False),
        sa.Column("table_name", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "realm", "hook", "table_name", "key", name=op.f("pk_readied")),
    )
    op.create_table(
        "seats",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("way_in", TEXT, nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("seat_limit", sa.BigInteger(), nullable=True),
        sa.Column("when_full", TEXT, nullable=False),
        sa.Column("recounts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "way_in", name=op.f("pk_seats")),
    )
    op.create_table(
        "sessions",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("key_thumbprint", TEXT, nullable=False),
        sa.Column("client_id", TEXT, nullable=True),
        sa.Column("actor", TEXT, nullable=True),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("signed_out_at", sa.BigInteger(), nullable=True),
        sa.Column("refresh_until", sa.BigInteger(), nullable=False),
        sa.Column("newest_stamp", sa.BigInteger(), nullable=False),
        sa.Column("connected_at", sa.BigInteger(), nullable=False),
        sa.Column("wiped_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "session_id", name=op.f("pk_sessions")),
        sa.UniqueConstraint(
            "app_id", "uid", "device_id", "ordinal", name=op.f("uq_sessions_app_id_uid_device_id_ordinal")
        ),
    )
    op.create_index(
        op.f("ix_sessions_app_id_uid_created_at_session_id"),
        "sessions",
        ["app_id", "uid", "created_at", "session_id"],
        unique=False,
    )
    op.create_index(
        "ix_sessions_enrolled",
        "sessions",
        ["app_id", "uid", "created_at", "session_id"],
        unique=False,
        postgresql_where=sa.text("state = 'ENROLLED' AND actor IS NULL"),
        sqlite_where=sa.text("state = 'ENROLLED' AND actor IS NULL"),
    )
    op.create_index(
        "ix_sessions_later_on_device",
        "sessions",
        ["app_id", "device_id", "created_at", "session_id"],
        unique=False,
        postgresql_where=sa.text("ordinal > 1"),
        sqlite_where=sa.text("ordinal > 1"),
    )
    op.create_index(
        "ix_sessions_refresh_until",
        "sessions",
        ["refresh_until"],
        unique=False,
        postgresql_where=sa.text("state = 'ENROLLED'"),
        sqlite_where=sa.text("state = 'ENROLLED'"),
    )
    op.create_table(
        "sign_in_codes",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("code_digest", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("network", TEXT, nullable=False),
        sa.Column("challenge", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("spent_by", TEXT, nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("session_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "code_digest", name=op.f("pk_sign_in_codes")),
    )
    op.create_index(op.f("ix_sign_in_codes_expires_at"), "sign_in_codes", ["expires_at"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("published_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_signing_keys")),
        sa.UniqueConstraint("generation", name=op.f("uq_signing_keys_generation")),
    )
    op.create_table(
        "subscriptions",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("subscriber_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("types", TEXT, nullable=False),
        sa.Column("filter", TEXT, nullable=False),
        sa.Column("once", TEXT, nullable=False),
        sa.Column("live", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "subscriber_id", name=op.f("pk_subscriptions")),
    )
    op.create_table(
        "task_env",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "name", name=op.f("pk_task_env")),
    )
    op.create_table(
        "task_queues",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("lane", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "name", name=op.f("pk_task_queues")),
    )
    op.create_table(
        "tasks",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("task_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("declaration", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("paused", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_id", "task_id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("app_id", "name", name=op.f("uq_tasks_app_id_name")),
    )
    op.create_table(
        "told",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("subscriber_id", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "uid", "subscriber_id", "type", "device_id", name=op.f("pk_told")),
    )
    op.create_index(op.f("ix_told_app_id_subscriber_id"), "told", ["app_id", "subscriber_id"], unique=False)
    op.create_table(
        "user_words",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("word", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "word", "uid", name=op.f("pk_user_words")),
    )
    op.create_index(
        op.f("ix_user_words_app_id_uid_word"), "user_words", ["app_id", "uid", "word"], unique=False
    )
    op.create_table(
        "users",
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("email", TEXT, nullable=False),
        sa.Column("email_verified", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("data", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("eval_days_left", sa.BigInteger(), nullable=False),
        sa.Column("eval_days_max", sa.BigInteger(), nullable=False),
        sa.Column("active_day", sa.BigInteger(), nullable=False),
        sa.Column("deactivated_at", sa.BigInteger(), nullable=True),
        sa.Column("expired_at", sa.BigInteger(), nullable=True),
        sa.Column("locked_at", sa.BigInteger(), nullable=True),
        sa.Column("devices_max", sa.BigInteger(), nullable=True),
        sa.Column("way_in", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("app_id", "uid", name=op.f("pk_users")),
        sa.UniqueConstraint("app_id", "user_id", name=op.f("uq_users_app_id_user_id")),
    )
    op.create_index(
        op.f("ix_users_app_id_created_at_user_id"), "users", ["app_id", "created_at", "user_id"], unique=False
    )
    op.create_index(
        op.f("ix_users_app_id_eval_days_left_user_id"),
        "users",
        ["app_id", "eval_days_left", "user_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_users_app_id_last_login_at_user_id"),
        "users",
        ["app_id", "last_login_at", "user_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_users_app_id_name_user_id"), "users", ["app_id", "name", "user_id"], unique=False
    )
    op.create_index(
        op.f("ix_users_app_id_type_user_id"), "users", ["app_id", "type", "user_id"], unique=False
    )
    op.create_index(
        op.f("ix_users_app_id_updated_at_user_id"), "users", ["app_id", "updated_at", "user_id"], unique=False
    )
    op.create_index(
        op.f("ix_users_app_id_valid_until_user_id"),
        "users",
        ["app_id", "valid_until", "user_id"],
        unique=False,
    )
    op.create_index(
        "ix_users_deactivated",
        "users",
        ["app_id", "user_id"],
        unique=False,
        postgresql_where=sa.text("deactivated_at IS NOT NULL"),
        sqlite_where=sa.text("deactivated_at IS NOT NULL"),
    )
    op.create_index(
        "ix_users_locked",
        "users",
        ["app_id", "created_at", "user_id"],
        unique=False,
        postgresql_where=sa.text("locked_at IS NOT NULL"),
        sqlite_where=sa.text("locked_at IS NOT NULL"),
    )
    op.create_table(
        "writers",
        sa.Column("writer_id", TEXT, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", name=op.f("pk_writers")),
    )
