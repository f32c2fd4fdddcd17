import { Incompatible } from '../../errors.ts';

/** Older servers know neither the typed vectors of gRPC nor the has_vector condition. */
export const minVersion = [1, 13] as const;
/** The first version with update_mode; older servers ignore the field, and would overwrite. */
export const insertOnlyVersion = [1, 17] as const;

/** @throws Incompatible when the server is older than what we use. */
export function requireVersion(found: string, wanted: readonly [number, number], url: string): void {
  if (isOlder(found, wanted))
    throw new Incompatible(`${url} is Qdrant ${found}, and this needs ${wanted.join('.')} or newer; update it`);
}

/** @param found as the server says it: `1.18.3`, `1.19.0-dev` */
export function isOlder(found: string, wanted: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = found.split('.').map(Number);
  return major < wanted[0] || (major === wanted[0] && minor < wanted[1]);
}
