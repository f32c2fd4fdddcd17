import { z } from 'zod';

/** How an event says where something is: a store or an embedding model. */

export const connectionSchema = z.union([
  z.strictObject({ secret: z.string().min(1) }),
  z.strictObject({ url: z.url() }).refine(({ url }) => !hasPassword(url), {
    message: 'holds a password; put it into a secret and write {"secret": NAME}',
  }),
  z.strictObject({ path: z.string().min(1) }),
]);
export type Connection = z.infer<typeof connectionSchema>;

function hasPassword(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed !== null && (parsed.password !== '' || /[?&](password|api[-_]?key|token)=/i.test(parsed.search));
}
