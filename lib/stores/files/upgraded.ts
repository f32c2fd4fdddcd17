import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import { parseJsonObject } from '../../objects.ts';
import { plural } from '../../words.ts';
import type { Folder } from './folder.ts';

/** What `vecferry upgrade` notes in each folder that it makes, so that nobody takes one that is not whole for the whole. */

export const upgradeMark = '_upgrade.json';

export const upgradeMarkSchema = z.strictObject({
  format: z.literal(1),
  /** The folder that is brought up. */
  from: z.string(),
  done: z.boolean(),
  /** Files at and below this place that could not be brought up, the first thousand. */
  left: z.array(z.string()),
});
export type UpgradeMark = z.infer<typeof upgradeMarkSchema>;

/** For the plan: what stayed behind. @throws Incompatible while the upgrade has not come to its end */
export async function upgradeNotes(folder: Folder): Promise<readonly string[]> {
  const notes: string[] = [];
  for (const part of folder.parts) {
    const body = await folder.get(part + upgradeMark);
    if (body === undefined) continue;
    const where = folder.locate(part + upgradeMark);
    const { from, done, left } = parseJsonObject(body, upgradeMarkSchema, where);
    if (!done) {
      const text = `${where} says that the upgrade of ${from} has not come to its end, so records are missing here`;
      throw new Incompatible(`${text}; type that \`vecferry upgrade\` again, which goes on`, { ids: [where] });
    }
    if (left.length === 0) continue;
    const names = left.slice(0, 10).join(', ');
    notes.push(
      `${plural(left.length, 'file')} of ${from} could not be brought up, and their records are not here as they are there: ${names}${left.length > 10 ? ', …' : ''}`,
    );
  }
  return notes;
}
