// @ts-check
/** Errors that a user can mend: one line that says what is wrong, where, and what to do. The names are Python's. */

/** Base of all of them. */
export class SdkitError extends Error {
  get name() {
    return this.constructor.name;
  }
}
/** An option that cannot be used. */
export class ConfigError extends SdkitError {}
/** A verb that the model has not. */
export class CapabilityError extends ConfigError {}
/** Sequences or codes that do not have the expected shape, dtype or values. */
export class DataError extends SdkitError {}
/** A file that should be there and is not. */
export class MissingFileError extends SdkitError {}
/** A bundle that must not be used. */
export class BundleError extends SdkitError {}
/** A manifest that does not parse, has unknown keys or was changed. */
export class ManifestError extends BundleError {}
/** A bundle of a format version that this module does not read. */
export class BundleVersionError extends BundleError {}
/** A manifest entry that points outside its bundle. */
export class BundlePathError extends BundleError {}
/** A file of the bundle that is missing. */
export class BundleFileError extends BundleError {}
/** A file of the bundle whose bytes are not those that were exported. */
export class DigestError extends BundleError {}

/** @param {unknown} error */
export function firstLine(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0] || String(error);
}
