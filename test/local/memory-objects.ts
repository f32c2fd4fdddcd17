import type { ObjectStore } from '../../lib/objects.ts';

/** Objects in memory, text by key. */
export function memoryObjects(texts: Record<string, string>): ObjectStore {
  const objects = new Map<string, Uint8Array>(
    Object.entries(texts).map(([key, text]) => [key, new TextEncoder().encode(text)]),
  );
  return {
    get: async (key) => objects.get(key),
    put: async (key, body) => void objects.set(key, bytesOf(body)),
    create: async (key, body) => {
      if (objects.has(key)) return false;
      objects.set(key, bytesOf(body));
      return true;
    },
    list: async (prefix) => [...objects.keys()].filter((key) => key.startsWith(prefix)).sort(),
    folders: async (prefix) => {
      const inside = [...objects.keys()].filter(
        (key) => key.startsWith(prefix) && key.indexOf('/', prefix.length) >= 0,
      );
      return [...new Set(inside.map((key) => key.slice(0, key.indexOf('/', prefix.length) + 1)))].sort();
    },
    delete: async (key) => void objects.delete(key),
    locate: (key) => `memory:${key}`,
  };
}

const bytesOf = (body: Uint8Array | string): Uint8Array =>
  typeof body === 'string' ? new TextEncoder().encode(body) : body;
