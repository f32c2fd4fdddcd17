import type { Flag } from '../cutover/flag.ts';
import { InvalidEvent, NotFound } from '../errors.ts';
import type { KnownFlag } from './flag-cache.ts';
import type { ClientSide, Identified } from './side.ts';

/** A place that the flag names, and the application's side for it; undefined where it has none. */
export interface Place<R extends Identified, Q, H extends Identified> {
  readonly name: string;
  readonly side: ClientSide<R, Q, H> | undefined;
}

/** What a value of the flag means to this application. */
export interface Places<R extends Identified, Q, H extends Identified> {
  readonly flag: Flag;
  readonly active: Place<R, Q, H>;
  readonly candidate: Place<R, Q, H>;
  /** The first place of writes: what it holds counts. */
  readonly first: Place<R, Q, H>;
  /** The second one; undefined where writes go to one place. */
  readonly second: Place<R, Q, H> | undefined;
  /** The one of active and candidate that is not the first; undefined where the flag has one side. */
  readonly target: Place<R, Q, H> | undefined;
}

export interface PlacesOptions<R extends Identified, Q, H extends Identified> {
  readonly name: string;
  readonly sides: Readonly<Record<string, ClientSide<R, Q, H>>>;
  readonly source: string | undefined;
}

/** Values of the flag are read again and again and seldom change: what one means is worked out once. */
export function makePlaces<R extends Identified, Q, H extends Identified>(
  options: PlacesOptions<R, Q, H>,
): (known: KnownFlag | undefined) => Places<R, Q, H> {
  let last: { readonly flag: Flag | undefined; readonly places: Places<R, Q, H> } | undefined;
  return (known) => {
    const flag = known?.flag;
    if (last === undefined || last.flag !== flag) last = { flag, places: placesOf(flag, options) };
    return last.places;
  };
}

function placesOf<R extends Identified, Q, H extends Identified>(
  known: Flag | undefined,
  options: PlacesOptions<R, Q, H>,
): Places<R, Q, H> {
  const flag = known ?? onSource(options);
  const place = (name: string): Place<R, Q, H> => ({
    name,
    side: Object.hasOwn(options.sides, name) ? options.sides[name] : undefined,
  });
  const [first = flag.active, second] = flag.writes ?? [];
  const other = [flag.active, flag.candidate].find((name) => name !== first);
  return {
    flag,
    active: place(flag.active),
    candidate: place(flag.candidate),
    first: place(first),
    second: second === undefined || second === first ? undefined : place(second),
    target: other === undefined ? undefined : place(other),
  };
}

/** What a flag that was never set means. */
function onSource<R extends Identified, Q, H extends Identified>({
  name,
  sides,
  source,
}: PlacesOptions<R, Q, H>): Flag {
  const names = Object.keys(sides);
  const place = source ?? (names.length === 1 ? names[0] : undefined);
  if (place === undefined) {
    const text = `the routing flag ${name} was never set, or could not be read yet`;
    throw new NotFound(
      `${text}; name the place to use until then as source of createClient: one of ${names.join(', ')}`,
      {
        ids: [name],
      },
    );
  }
  return { active: place, candidate: place, weight: 0, shadow: 0 };
}

/** The application's side for a place that it cannot do without. @throws InvalidEvent when it has none. */
export function sideOf<R extends Identified, Q, H extends Identified>(
  place: Place<R, Q, H>,
  { name, sides }: Pick<PlacesOptions<R, Q, H>, 'name' | 'sides'>,
): ClientSide<R, Q, H> {
  if (place.side !== undefined) return place.side;
  const has = Object.keys(sides).join(', ') || 'none';
  const text = `the routing flag ${name} names ${place.name}, and this application has sides for ${has} only`;
  throw new InvalidEvent(`${text}; add '${place.name}' to the sides of createClient, or set the flag right`, {
    ids: [place.name],
  });
}
