import { changedSettings, settingsText } from '../recall/search-steps.ts';
import type { Cause } from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import { count, percent, plural } from '../words.ts';
import { change, type Experiment, explains, leastGain, type Trial, tryTarget } from './experiment.ts';

/** A cause, and how much recall it explains: the causes of a set are told in that order. */
export interface Found {
  readonly cause: Cause;
  readonly gain: number;
}

type Name = Extract<
  Cause['cause'],
  | 'quantized without rescoring'
  | 'oversampling too low'
  | 'filtered after the index'
  | 'efSearch too low'
  | 'probes too low'
>;
interface Remedy {
  readonly name: Name;
  /** Tried one after another until one explains enough. */
  readonly changes: readonly SearchSettings[];
}

/** How far a search is widened to see whether that is what is missing. */
const factors = [4, 16] as const;
/** Rescoring alone puts the same hits in another order where k are taken; so many times k leave it a choice. */
const manyTimes = [4, 16] as const;
/** Where hits are rescored already: a bit a float may need so many of few dimensions. */
const moreTimes = [4, 16, 64] as const;

/**
 * What other search settings find, one on top of the other: that which helps most first, and of those that help alike
 * the one that costs least. A setting is a cause when it brings back a third of what is missing.
 * @param isFilterAlone true where only filtered searches miss: a wider search would then hide the cause, not mend it
 */
export async function settingCauses(experiment: Experiment, isFilterAlone: boolean): Promise<readonly Found[]> {
  const { base, exact, sent } = experiment;
  // What an exact search does not find no setting of the index does.
  const ceiling = exact.recall > base.recall + leastGain ? exact.recall : 1;
  let remedies = remediesOf(experiment, isFilterAlone);
  let reached: { readonly settings: SearchSettings; readonly trial: Trial } = { settings: sent, trial: base };
  const found: Found[] = [];
  while (remedies.length > 0 && reached.trial.recall < ceiling - leastGain) {
    const from = reached;
    const tried: { remedy: Remedy; settings: SearchSettings; trial: Trial }[] = [];
    for (const remedy of remedies) tried.push({ remedy, ...(await tryRemedy(experiment, remedy, from.settings)) });
    const most = Math.max(...tried.map(({ trial }) => trial.recall));
    const best = tried.find(({ trial }) => trial.recall >= most - leastGain);
    if (best === undefined || !explains(from.trial.recall, best.trial.recall, ceiling)) break;
    found.push({
      cause: causeOf(experiment, best.remedy.name, from, best),
      gain: best.trial.recall - from.trial.recall,
    });
    remedies = remedies.filter(({ name }) => name !== best.remedy.name);
    reached = best;
  }
  return found;
}

/** Those that cost least first. */
function remediesOf(
  { base, start, tuning, truths, entry, manifest }: Experiment,
  isFilterAlone: boolean,
): readonly Remedy[] {
  const { heeds, isQuantized } = tuning;
  const wider = (name: 'efSearch' | 'probes', unknown: number): Remedy[] => {
    const largest = heeds[name];
    if (largest === undefined || isFilterAlone) return [];
    const last = largest === true ? Math.max(manifest.records, 2 * unknown) : largest;
    const current = start[name] ?? unknown;
    const values = [...new Set(factors.map((factor) => Math.min(current * factor, last)))].filter((v) => v > current);
    const changes = values.map((value) => ({ [name]: value }));
    return changes.length === 0 ? [] : [{ name: `${name} too low`, changes }];
  };
  const rescores = isQuantized && heeds.rescore !== undefined && start.rescore !== true;
  const most = heeds.oversampling === true ? Number.POSITIVE_INFINITY : (heeds.oversampling ?? 1);
  const more = manyTimes.map((times) => ({ rescore: true, oversampling: Math.min(times, most) }));
  const sampled = start.oversampling ?? 1;
  const further = moreTimes.map((times) => Math.min(times * sampled, most)).filter((value) => value > sampled);
  // More candidates come from a wider search: where filtered searches alone miss, that would hide the cause as well.
  const oversamples = isQuantized && start.rescore === true && heeds.oversampling !== undefined && !isFilterAlone;
  const isFiltered = truths.some(({ filter }) => filter.length > 0);
  const scans = isFiltered && base.short > 0 && heeds.iterativeScan !== undefined && start.iterativeScan !== true;
  return [
    ...(rescores
      ? [{ name: 'quantized without rescoring' as const, changes: [{ rescore: true }, ...(most > 1 ? more : [])] }]
      : []),
    ...(scans ? [{ name: 'filtered after the index' as const, changes: [{ iterativeScan: true }] }] : []),
    ...wider('efSearch', Math.max(40, entry.k)),
    ...wider('probes', 1),
    // Last, because it widens the search too: a graph that is searched too narrowly is that, whatever else helps.
    ...(oversamples && further.length > 0
      ? [
          {
            name: 'oversampling too low' as const,
            changes: [...new Set(further)].map((oversampling) => ({ oversampling })),
          },
        ]
      : []),
  ];
}

async function tryRemedy(
  experiment: Experiment,
  { changes }: Remedy,
  from: SearchSettings,
): Promise<{ settings: SearchSettings; trial: Trial }> {
  let best: { settings: SearchSettings; trial: Trial } | undefined;
  for (const each of changes) {
    const settings = { ...from, ...each };
    const trial = await tryTarget(experiment, { settings });
    // The lesser change is named where the greater adds nothing.
    if (best === undefined || trial.recall > best.trial.recall + leastGain) best = { settings, trial };
    if (trial.recall >= 1 - leastGain) break;
  }
  return best ?? { settings: from, trial: experiment.base };
}

interface Reached {
  readonly settings: SearchSettings;
  readonly trial: Trial;
}

function causeOf(
  { entry, figure, plan, exact, start }: Experiment,
  name: Name,
  before: Reached,
  after: Reached,
): Cause {
  const changed = changedSettings(before.settings, after.settings);
  const was = { ...start, ...before.settings };
  const from = (key: 'efSearch' | 'probes'): string => count(was[key] ?? 0);
  const now = settingsText(changed);
  const short = `${plural(before.trial.short, 'query')} got fewer than ${entry.k} records`;
  const whats: Readonly<Record<Name, string>> = {
    'efSearch too low':
      was.efSearch === undefined
        ? 'The search of the HNSW graph keeps too few candidates.'
        : `The search of the HNSW graph keeps too few candidates: efSearch is ${from('efSearch')}.`,
    'probes too low':
      was.probes === undefined
        ? 'The search visits too few lists of the index.'
        : `The search visits too few lists of the index: probes is ${from('probes')}.`,
    'quantized without rescoring':
      'The vectors are searched in a compressed form, and the hits are not ranked again by the whole vectors.',
    'oversampling too low': `The vectors are searched in a compressed form, and too few of those hits are ranked again by the whole vectors: oversampling is ${was.oversampling ?? 1}.`,
    'filtered after the index':
      'The index hands over its nearest records first and the filter is held against those, so that too few are left.',
  };
  const scanned = name === 'filtered after the index' ? ` ${short}; with it ${count(after.trial.short)} did.` : '';
  const ceiling =
    exact.recall > before.trial.recall + leastGain ? ` An exact search finds ${percent(exact.recall)}.` : '';
  return {
    cause: name,
    check: 'recall',
    set: entry.set,
    vector: entry.vector,
    what: whats[name],
    evidence: `With ${now}, ${figure} goes from ${change(before.trial.recall, after.trial.recall)}.${scanned}${ceiling}`,
    next: `Search with ${isNumber(name) ? 'more: ' : ''}${now}, or less that still holds the goal: \`vecferry tune ${plan.run}\` finds it, and says how to set it.`,
  };
}

const isNumber = (name: Name): boolean => name.endsWith('too low');
