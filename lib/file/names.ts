import { escaped, keyOf, nameOf } from '../swap/object-name.ts';

/** The folder, beside the folders of keys, for what is not yet a lock: new versions, and new folders. No key has this name. */
export const FRESH = '~new';
/** The longest name of a file or a folder, in bytes, on every file system that has hard links. */
const MOST = 255;

/** Slashes would make folders of folders, which a long key would nest too deep. No other name has a plus. */
const flat = (name: string): string => name.replaceAll('/', '+');

/** The name of a key's folder. */
export const folderName = (key: string): string => flat(nameOf(key, MOST));

/** Reads the key from the name of a folder. Undefined if the key is too long for a name, or if the name is none of ours. */
export const keyInName = (name: string): string | undefined => keyOf(name.replaceAll('+', '/'));

/** Tells whether a folder may be a key's, by its name. */
export const isKeysName = (name: string): boolean =>
  keyInName(name) !== undefined || /^[a-z0-9_%+-]+~[0-9a-f]{64}$/.test(name);

/** Tells whether the key of a folder may start with a prefix: a key that is too long shows its beginning alone. */
export function mayStartWith(name: string, prefix: string): boolean {
  if (!isKeysName(name)) return false;
  const start = flat(escaped(prefix));
  const [shown = ''] = name.split('~');
  return name.includes('~') ? shown.startsWith(start.slice(0, shown.length)) : name.startsWith(start);
}

/** Reads the key from the content of a folder whose name does not tell the key. */
export function keyInText(text: string, name: string): string | undefined {
  try {
    const key = JSON.parse(text)?.record?.key;
    return typeof key === 'string' && folderName(key) === name ? key : undefined;
  } catch {
    return undefined;
  }
}
