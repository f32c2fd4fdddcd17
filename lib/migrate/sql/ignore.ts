/** `-- vecferry-lint: ignore RULE[, RULE]: REASON` on the line before a statement, or before the clause that is meant. */

export interface Ignored {
  readonly line: number;
  /** The line of SQL that it stands before. */
  readonly of: number;
  readonly rules: readonly string[];
  /** Empty: nobody said why. */
  readonly reason: string;
}

const directive = /^[ \t]*--[ \t]*vecferry-lint:[ \t]*(.*?)\s*$/;
const form = /^ignore[ \t]+([\w-]+(?:[ \t]*,[ \t]*[\w-]+)*)[ \t]*(?::[ \t]*(.*))?$/;

/** How it is written, for messages. */
export const ignoreForm = '-- vecferry-lint: ignore RULE: REASON';

/** Every such line of a part. One that is written otherwise comes with no rules. */
export function ignoresIn(sql: string): readonly Ignored[] {
  const lines = sql.split('\n');
  return lines.flatMap((text, index) => {
    const found = directive.exec(text);
    if (found === null) return [];
    const [, rules = '', reason = ''] = form.exec(found[1] ?? '') ?? [];
    const after = lines.slice(index + 1).findIndex((line) => line.trim() !== '' && !line.trim().startsWith('--'));
    return [
      {
        line: index + 1,
        of: after < 0 ? 0 : index + after + 2,
        rules: rules === '' ? [] : rules.split(',').map((rule) => rule.trim()),
        reason,
      },
    ];
  });
}
