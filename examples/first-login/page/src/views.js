// What a person sees. Each view is a function that returns elements; nothing here talks to a server.

const NEWCOMERS = [
  { email: "ada.lovelace@example.com", becomes: "a production account", tone: "good" },
  { email: "grace@elsewhere.org", becomes: "an evaluation account", tone: "plum" },
  { email: "nobody@elsewhere.org", becomes: "no account", tone: "bad" },
];

/** Between the return from a provider and the first word of the addon. */
export function comingIn() {
  return el("div", { class: "center" },
    el("header", {}, el("span", { class: "mark" }, door()), el("h1", {}, "Signing in…")));
}

/** Before somebody is here: whatever the addon asks for, as a form. */
export function signedOut(interaction, { signIn, inboxUrl, databaseUrl }) {
  return el("div", { class: "center" },
    el("header", {},
      el("span", { class: "mark" }, door()),
      el("h1", {}, interaction?.type === "otp" ? "Enter your code" : "Sign in"),
      el("p", { class: "muted mono" }, databaseUrl)),
    interaction ? form(interaction, inboxUrl) : el("div", { class: "panel body" },
      el("button", { class: "btn primary wide", type: "button", onclick: () => signIn() }, "Sign in")),
    interaction?.type === "email" && el("section", { class: "tries", "aria-label": "Newcomers to try" },
      el("h2", {}, "Three newcomers to try"),
      el("ul", { class: "panel" }, NEWCOMERS.map(({ email, becomes, tone }) =>
        el("li", {},
          el("button", { class: "pick mono", type: "button", onclick: () => fill(email) }, email),
          el("span", { class: `badge ${tone}` }, becomes))))));
}

/** A resident: what `db.cloud.currentUser` says, and what the operator's own system was told of it. */
export function signedIn(user, { signOut, events }) {
  const { license = {} } = user;
  return el("div", { class: "page" },
    el("header", { class: "head" },
      el("div", {},
        el("h1", {}, user.name || user.email || user.userId),
        el("p", { class: "muted" }, "Signed in. This is what ", el("code", {}, "db.cloud.currentUser"), " says.")),
      el("button", { class: "btn", type: "button", onclick: once(signOut) }, "Sign out")),
    license.status && license.status !== "ok" && el("p", { class: "alert bad", role: "alert" },
      license.status === "expired" ? "This account has expired." : "This account was deactivated."),
    el("div", { class: "two" },
      el("section", { class: "panel" },
        el("h2", {}, "Person"),
        facts([
          ["name", user.name],
          ["email", user.email],
          ["userId", el("span", { class: "mono" }, user.userId)],
        ])),
      el("section", { class: "panel" },
        el("h2", {}, "License"),
        facts([
          ["type", el("span", { class: `badge ${license.type === "prod" ? "good" : "plum"}` }, license.type)],
          ["status", el("span", { class: `status ${license.status === "ok" ? "good" : "bad"}` }, license.status)],
          ["evalDaysLeft", license.evalDaysLeft],
          ["validUntil", license.validUntil && license.validUntil.toISOString().slice(0, 10)],
        ]))),
    el("section", { class: "panel" },
      el("h2", {}, "data", el("span", { class: "muted" }, "the hook’s userData")),
      el("pre", { tabindex: "0" }, user.data === undefined ? "nothing" : JSON.stringify(user.data, null, 2))),
    el("section", { class: "panel" },
      el("h2", {}, "Devices", el("span", { class: "muted" }, "what your back end reads in the Sessions API")),
      el("ul", { class: "devices", id: "devices", "aria-live": "polite" })),
    el("section", { class: "panel" },
      el("h2", {}, "Events", el("span", { class: "muted" }, "what your back end was told")),
      el("ol", { class: "events", id: "events", "aria-live": "polite" }, events.map(eventRow)),
      el("p", { class: "none muted" }, "Nothing since the receiver was started. Sign in as somebody new, or as the same ",
        "person in a private window: that is another device.")));
}

/** The devices of a person by their newest sessions, or why they are not known. */
export function deviceRows(sessions, here) {
  if (!Array.isArray(sessions)) return [el("li", { class: "muted" }, sessions.message)];
  return sessions.map(({ device, label, state, reason, ordinal }) =>
    el("li", {},
      el("span", { class: `status ${state === "ENROLLED" ? "good" : "bad"}` }, label || "Unnamed"),
      device.id === here && el("span", { class: "badge good" }, "this device"),
      el("code", { class: "muted" }, `${device.id.slice(0, 12)}…`),
      el("span", { class: "muted" }, state === "ENROLLED" ? `session ${ordinal}` : reason),
      el("time", { class: "muted", datetime: device.first_seen_at }, since(device.first_seen_at))));
}

function since(moment) {
  return `since ${new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`;
}

/** One event, its body on demand. */
export function eventRow(event) {
  const { device, session } = event.data;
  return el("li", {}, el("details", {},
    el("summary", {},
      el("code", { class: "badge plain" }, event.type),
      device && el("span", {}, "on device ", el("code", {}, `${device.identifier.slice(0, 12)}…`)),
      device && el("span", { class: `badge ${device.first_for_user ? "good" : "plain"}` }, newness(device, session)),
      el("time", { class: "muted", datetime: event.timestamp }, new Date(event.timestamp).toLocaleTimeString())),
    el("pre", { tabindex: "0" }, JSON.stringify(event, null, 2))));
}

function newness(device, session) {
  if (device.first_for_user) return "their first device";
  return device.first_for_device ? "another device" : `session ${session.ordinal} on it`;
}

function form(interaction, inboxUrl) {
  const { type, fields = {}, alerts = [], options = [], submitLabel, cancelLabel, onSubmit, onCancel } = interaction;
  const submit = (event) => {
    event.preventDefault();
    const button = event.target.querySelector(".primary");
    if (button.disabled) return;
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    onSubmit(Object.fromEntries([...new FormData(event.target)].map(([name, text]) => [name, text.trim()])));
  };
  return el("form", { class: "panel body", onsubmit: submit },
    alerts.map(alert),
    type === "otp" && el("p", {}, "The mail is in the ",
      el("a", { href: inboxUrl, target: "admit-inbox", rel: "noopener" }, "development inbox"), "."),
    options.map((option, place) => el("button", { class: "btn wide", type: "button", ...first(place),
      onclick: () => onSubmit({ [option.name]: option.value }) }, option.displayName)),
    Object.entries(fields).map(([name, field], place) => input(name, field, place)),
    submitLabel && el("div", { class: "row" },
      el("button", { class: "btn primary", type: "submit" }, labelOf(type, submitLabel)),
      cancelLabel && el("button", { class: "btn ghost", type: "button", onclick: onCancel },
        type === "email" ? "Another way" : cancelLabel)));
}

function input(name, field, place) {
  const attributes = {
    email: { type: "email", autocomplete: "email", inputmode: "email" },
    otp: { type: "text", autocomplete: "one-time-code", spellcheck: "false" },
  }[name] ?? { type: field.type === "password" ? "password" : "text" };
  return el("p", { class: "field" },
    el("label", { for: name }, { email: "Email", otp: "Code from the mail" }[name] ?? field.label ?? name),
    el("input", { class: name === "otp" ? "input mono" : "input", id: name, name, required: "",
      placeholder: name === "email" ? "you@example.com" : "", ...attributes, ...first(place) }));
}

/** Marks what the cursor waits at. */
function first(place) {
  return place === 0 ? { "data-first": "" } : {};
}

/** The addon's own sentences; a refusal also shows its stable code, where it has one. */
function alert({ type, messageCode, message, messageParams = {} }) {
  const text = message.replace(/\{(\w+)\}/g, (whole, name) => messageParams[name] ?? whole);
  return el("p", { class: `alert ${{ error: "bad", warning: "warn" }[type] ?? ""}`, role: type === "error" ? "alert" : "status" },
    text, type === "error" && messageCode !== "GENERIC_ERROR" && el("code", {}, messageCode));
}

function labelOf(type, label) {
  return { email: "Send me a code", otp: "Sign in" }[type] ?? label;
}

function facts(pairs) {
  return el("dl", {}, pairs.filter(([, value]) => value !== undefined && value !== "")
    .map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

function fill(email) {
  const field = document.getElementById("email");
  field.value = email;
  field.focus();
}

function once(action) {
  return (event) => {
    event.target.disabled = true;
    action();
  };
}

function door() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", "M3 14V4.5A2.5 2.5 0 0 1 5.5 2h5A2.5 2.5 0 0 1 13 4.5V14M1.5 14h13M6 14V7.5a2 2 0 0 1 4 0V14");
  svg.append(path);
  return svg;
}

/** An element. Text is always text: a name that holds markup stays a name. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(3).filter((child) => child || child === 0));
  return element;
}
