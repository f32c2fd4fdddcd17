import { unswitchedIndex } from '../index-change/index-change.ts';
import type { Plan } from '../run-files.ts';
import type { Services } from '../services.ts';

export interface StayOptions {
  readonly plan: Plan;
  /** Who rejected it; empty where nobody answered. */
  readonly by: string;
  readonly reason: string;
  readonly services: Pick<Services, 'notices' | 'stack'>;
  readonly now: Date;
}

/** Tells people that the run ended without its cutover, since no approval was given, and how to go on from there. */
export async function tellReadersStay({ plan, by, reason, services, now }: StayOptions): Promise<void> {
  const { run } = plan;
  const on = services.stack === undefined ? '' : ` --stack ${services.stack}`;
  const what = by === '' ? reason : `rejected by ${by}${reason === '' ? '' : `: ${reason}`}`;
  const unswitched = unswitchedIndex(plan, on);
  const readers =
    unswitched === undefined ? 'readers use what they used before' : `nothing was switched, but ${unswitched}`;
  const lines = [
    `Run ${run} has passed validation and was not approved (${what}). It has ended, and ${readers}.`,
    `To be asked again, start it under its id: vecferry run EVENT --run ${run}${on}`,
    `To cut over without being asked: vecferry cutover ${run}${on}`,
  ];
  if (plan.event.live !== false) {
    lines.push(`The application still writes to both sides. To end that: vecferry finish ${run}${on}`);
  }
  await services.notices.send({
    at: now.toISOString(),
    run,
    kind: 'approval not given',
    subject: `vecferry: readers stay, run ${run}`.slice(0, 100),
    text: lines.join('\n'),
  });
}
