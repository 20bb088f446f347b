/** What Admit is told of a device with a login; every text is one line of printable characters. */
export interface Device {
  /** Stable and opaque, 1 to 200 characters, not beginning with `key_`. No proof of hardware. */
  id: string;
  /** For people, at most 200 characters: "Chrome on Linux". */
  label?: string;
  /** At most 100 characters, as everything below: "Linux", "android", "ios". */
  platform?: string;
  model?: string;
  /** The app's own. */
  bundle_id?: string;
  app_version?: string;
  runtime_version?: string;
}

/**
 * This device. The identifier is made once, kept in local storage, and the same in every tab of a browser profile;
 * where there is no local storage, it is as old as the page. `about` adds to it or says it better: a native shell that
 * knows the device's own identifier gives `{ id }`.
 */
export function device(about?: Partial<Device>): Device;

/** Your own `fetchTokens` for `db.cloud.configure`, which is given `device` beside `public_key` and `hints`. */
export function withDevice<Params extends object, Tokens>(
  fetchTokens: (params: Params & { device: Device }) => Promise<Tokens>,
  about?: Partial<Device>,
): (params: Params) => Promise<Tokens>;

/**
 * Adds the device to every login that dexie-cloud-addon itself sends to `databaseUrl`, by any grant; its dialogs,
 * providers and magic links stay as they are. Call it once, before `db.open()`, with the text that
 * `db.cloud.configure` is given. It wraps `globalThis.fetch`, because the addon has no option for this.
 */
export function carryDevice(databaseUrl: string, about?: Partial<Device>): void;
