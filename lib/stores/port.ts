import type { Batch } from '../batch.ts';
import type { Names } from '../event-names.ts';
import type { Condition, Filter } from '../filter.ts';
import type {
  CollectionSchema,
  Distance,
  FieldType,
  Precision,
  SearchSettingName,
  SearchSettings,
  VectorKind,
} from '../schema.ts';
import type { IndexSide, IndexTarget } from './index-port.ts';
import type { FillLacking, InPlace, PlaceTarget } from './place-port.ts';

/**
 * The two ports that a store implements. A store's factory returns one object that is both, for one collection.
 * Every method turns the client's errors into those of errors.ts: Throttled for 429 and its like, StoreUnavailable for
 * faults that pass, AccessDenied for credentials, NotFound for a missing collection, RecordRefused for data the store
 * will never take. All may be called concurrently, and a second time with the same arguments without harm.
 */
export type Store = Source & Target;

/** A half-open interval [from, to) of source keys in the store's own order; null is open. Keys are text that only the store reads. */
export interface Range {
  readonly from: string | null;
  readonly to: string | null;
}

export interface PlannedRange extends Range {
  /** An estimate, from the store's statistics or a sample. */
  readonly records: number;
}

export interface Description {
  readonly schema: CollectionSchema;
  /** Records, exact. */
  readonly count: number;
  /** Mean bytes of a record's payload as JSON text, from a sample; 0 for an empty collection. */
  readonly payloadBytes: number;
  /** Records that lack a vector, by vector name, where any do and the store can tell; what the plan warns about. */
  readonly withoutVector?: Readonly<Record<string, number>>;
  /** What a person should know about how this collection is read; the plan passes it on. */
  readonly notes?: readonly string[];
}

/** A read's next piece, and what is left of the range after it: null at the end. */
export interface Piece {
  readonly batch: Batch;
  readonly rest: Range | null;
  /**
   * What the collection was while this piece was read, as `describe` says it: the same object for all pieces of one schema.
   * Left out where a store declares no fields: the vectors are what the batch says.
   */
  readonly schema?: CollectionSchema;
}

export interface SearchRequest {
  /** The dense vector searched, by its name in the collection. */
  readonly vector: string;
  /** `dimension` floats. */
  readonly query: Float32Array;
  readonly k: number;
  /** True to ask the store for the exact neighbours, where it can. */
  readonly exact?: boolean;
  /** Only records whose payload meets all of these are found: lib/filter.ts says what each means. */
  readonly filter?: readonly Condition[];
  /**
   * What nearness is where neither the collection nor its index names a distance and the store has none of its own: in files, and in
   * PostgreSQL, where each query's operator says it. Left out: the store's default.
   */
  readonly distance?: Distance;
  /** In place of those that the collection is searched with. A setting that the store does not heed is InvalidEvent. */
  readonly settings?: SearchSettings;
}

/** What the search of one vector depends on now. */
export interface SearchTuning {
  /** In effect for a search without settings, as far as the store tells: the endpoint's options, the collection's, the server's. */
  readonly current: SearchSettings;
  /** Settings that change what a search of this vector finds as it is indexed now; a number is the largest that is taken. */
  readonly heeds: Readonly<Partial<Record<SearchSettingName, number | true>>>;
  /** True where the vectors are searched in a compressed form (Qdrant's quantization, LanceDB's PQ and SQ indexes). */
  readonly isQuantized: boolean;
}

export interface KeptSearch {
  /** False: the store has no place for them, and the application has to say them with each search. */
  readonly kept: boolean;
  /** Where they stand now, or what the application has to do: `SET hnsw.ef_search = 120`. */
  readonly how: string;
}

export interface KeepOptions {
  /** True: nothing is changed, and `how` says what an application has to do. */
  readonly dryRun?: boolean;
}

export interface Hit {
  readonly id: string;
  /** The store's own score; only the order is comparable between stores. */
  readonly score: number;
}

export interface FetchedPart {
  readonly batch: Batch;
  readonly schema: CollectionSchema;
}

/** What source and target can both do: they are both read when a run is validated. */
export interface Reader {
  /** @throws NotFound when the collection does not exist. */
  describe(): Promise<Description>;
  /** The collection's schema as it is now, and no more: for stores where it may change under a run. Left out: as described. */
  readonly schema?: () => Promise<CollectionSchema>;
  /** Records, exact and up to date. */
  count(): Promise<number>;
  /** The records with these ids (at most 1,000), in any order; ids that are not there are left out. */
  fetch(ids: readonly string[]): Promise<Batch>;
  /** The same where records of several schemas lie side by side (files): each part with its own. */
  readonly fetchParts?: (ids: readonly string[]) => Promise<readonly FetchedPart[]>;
  /** The k nearest records, nearest first, through the call that an application makes. */
  search(request: SearchRequest): Promise<readonly Hit[]>;
  /** @param vector the dense vector's name */
  tuning(vector: string): Promise<SearchTuning>;
  close(): Promise<void>;
}

export interface Source extends Reader {
  /** Ranges that cover the whole key space without gap or overlap, each of about `records` records; one open range for an empty collection. */
  ranges(options: { readonly records: number }): Promise<readonly PlannedRange[]>;
  /**
   * The records of a range in key order, in batches that pass neither limit (a single record may be larger than
   * `maxBytes`). Bytes are counted by batchBytes. An empty range yields nothing. Reads one snapshot where the store has them.
   */
  read(range: Range, options: ReadOptions): AsyncIterable<Piece>;
  /**
   * For stores whose ranges or handles hold a state of the collection (LanceDB's bounds carry the table's version, Chroma's
   * handle lists the ids): what is read from now on is no older than this call, of ranges as the function gives them back.
   * Left out: a read is always of its moment.
   */
  readonly renew?: () => Promise<(range: Range) => Range>;
  /** Left out: a plan looks at a sample of the values. */
  readonly values?: FieldValues;
}

/** What a store can count of a payload field without handing out records. Fields are as lib/mapping/paths.ts finds them. */
export interface FieldValues {
  /**
   * Each value but null, as JSON text, with its records; undefined where there are more than `limit`, or the store cannot
   * tell of this field. Records that meet one of the filters are not counted.
   */
  distinct(
    field: string,
    options: { readonly limit: number; readonly except: readonly Filter[] },
  ): Promise<readonly ValueCount[] | undefined>;
  /** The first ids in key order, at most `limit`, of the records that hold it. @param value as `distinct` gave it */
  idsWith(field: string, value: string, limit: number): Promise<readonly string[]>;
}

export interface ValueCount {
  readonly value: string;
  readonly records: number;
}

export interface ReadOptions {
  readonly maxRecords: number;
  readonly maxBytes: number;
}

/** Which records of which shard a batch holds: makes a repeated write recognisable. */
export interface WritePosition {
  readonly run: string;
  readonly shard: string;
  /** Position of the batch's first record within the shard. */
  readonly offset: number;
  /**
   * How often the run was started, from 1; left out: 1. A later start writes a batch anew that an earlier one wrote: it
   * does so only where the records are there no more, or may be others.
   */
  readonly attempt?: number;
}

export interface WriteOptions {
  /** Left out: an application's own write, which is not part of a shard and never comes again as the same write. */
  readonly position?: WritePosition;
  /** upsert: the batch's value wins. insert: a record that is already there stays as it is (live runs). */
  readonly mode: 'upsert' | 'insert';
}

export interface IndexProgress {
  readonly done: boolean;
  /** 0 to 1, or undefined where the store does not tell. */
  readonly fraction?: number;
  /** For people: `graph 3 of 7 layers`, `yellow, 12,000 of 80,000 vectors indexed`. */
  readonly detail?: string;
  /** True when nothing is under way that would end it: whoever waits for the index has to call buildIndex again. */
  readonly isStalled?: boolean;
}

export interface Target extends Reader {
  /**
   * Creates the collection as `schema` says (its `store` is this one) with index building off; does nothing if it is
   * already there with the same vectors. @throws Incompatible when it is there with others.
   */
  prepare(schema: CollectionSchema): Promise<void>;
  /**
   * Writes the batch and returns how many of its records the store answers for, once they are durable there; with mode
   * insert that counts those that were there already. The caller takes the batch's memory back afterwards: nothing of it
   * may be kept.
   */
  write(batch: Batch, options: WriteOptions): Promise<{ readonly written: number }>;
  /**
   * Deletes the records with these ids (at most 1,000); ids that are not there, or that the store could not hold, are no
   * error. Durable when it returns. @throws Incompatible when capabilities.deletes is false.
   */
  delete(ids: readonly string[]): Promise<void>;
  /**
   * Looks whether this server can insert only what is absent, before a live run begins; left out where every server of
   * the kind can. @throws Incompatible when it cannot.
   */
  checkInserts?(): Promise<void>;
  /** Starts building what `schema` wants and is neither there nor under way, and returns without waiting for it. */
  buildIndex(schema: CollectionSchema): Promise<void>;
  /** Looks, and changes nothing. */
  indexProgress(schema: CollectionSchema): Promise<IndexProgress>;
  /** Makes these the settings of searches that say none, where the collection can keep them; else changes nothing. */
  keepSearch(vector: string, settings: SearchSettings, options?: KeepOptions): Promise<KeptSearch>;
  /** The store's own pointer that readers can follow; undefined when capabilities.pointer is false. In place: its vector's column. */
  readonly pointer?: Pointer;
  /** What a run in place needs besides; there where capabilities.inPlace is true. */
  readonly place?: PlaceTarget;
  /** What a run that changes an index needs besides; there where it was opened for one, and capabilities.changesIndex is not false. */
  readonly indexes?: IndexTarget;
  /**
   * Drops the collection for good: records, indexes, what the store keeps of them. One that is not there is no error. A pointer
   * is never followed: of a name that is an alias or a view nothing is dropped. Left out where capabilities.drops is false.
   * @throws Incompatible naming what depends on it (aliases, views, foreign keys), or why it is not ours to drop: nothing was dropped.
   */
  drop?(options?: DropOptions): Promise<Dropping>;
}

export interface DropOptions {
  /** True: nothing is dropped, and the answer, or the refusal, is the same. */
  readonly dryRun?: boolean;
}

export interface Dropping {
  /** What a person repeats to have it dropped: the collection's name as the endpoint has it. */
  readonly name: string;
  /** For people: `table "public"."articles" with its indexes`. */
  readonly what: string;
  /** False where it was not there (any more). */
  readonly isThere: boolean;
  /** On disk, where the store tells. */
  readonly bytes?: number;
}

/** A name that readers use in place of a collection's: an alias or a view. */
export interface Pointer {
  /** The collection the name stands for now; undefined where there is no such name. */
  read(name: string): Promise<string | undefined>;
  /** Makes `name` stand for `collection`, atomically; undefined removes the name. */
  move(name: string, collection: string | undefined): Promise<void>;
  /**
   * Of a run in place, as `move` to the run's vector, where the table is written all the time: writers wait until `fill` has made
   * the few vectors that lack, a second at most. @throws StoreUnavailable with ids: nothing was moved.
   */
  readonly moveFilled?: (name: string, collection: string, fill: FillLacking) => Promise<void>;
  /** Of a run in place: records with a vector that would have none once readers are taken back: added or changed since their export. */
  readonly lost?: (name: string) => Promise<number>;
}

/**
 * What a store can hold and do: one readonly literal a store, read by the plan alone, which refuses what does not fit
 * before anything is written. docs/stores.md is made from it.
 */
export interface Capabilities {
  /** Kinds of vectors a record can have. Another kind is refused unless the mapping drops it. */
  readonly vectorKinds: readonly VectorKind[];
  /** True when a record can have several vectors; false: the mapping must choose one. */
  readonly severalVectors: boolean;
  /** Name of the one dense vector where the event does not name it; a source vector that stands alone takes it. undefined: keeps its name. */
  readonly defaultVectorName?: string;
  readonly distances: readonly Distance[];
  /** Taken where neither the source nor the event says a distance. */
  readonly defaultDistance: Distance;
  /** Largest dimension that can be stored. */
  readonly maxDimension: number;
  /** Largest dimension that an approximate index takes, where smaller than maxDimension. Larger is stored unindexed, and the plan says so. */
  readonly maxIndexedDimension?: Readonly<Partial<Record<Precision, number>>>;
  readonly precisions: readonly Precision[];
  readonly indexes: readonly ('hnsw' | 'ivfflat' | 'other')[];
  /** Settings that a search may carry; an event that asks the target for another one is refused. */
  readonly searchSettings: readonly SearchSettingName[];
  /** True: `keepSearch` may change the store, where the endpoint's options ask for it. False: it only says what an application has to do. */
  readonly keepsSearch: boolean;
  /** False: records without a vector are refused, unless the event says `"missingVectors": "skip"` in its mapping. */
  readonly missingVectors: boolean;
  /** True: vectors are scaled to length 1 on write when the distance is cosine; validation expects that. */
  readonly normalisesCosine: boolean;
  readonly ids: {
    /** Integers from 0 or below to max, as decimal text ('18446744073709551615'); false: none. */
    readonly integer: { readonly min: string; readonly max: string } | false;
    readonly uuid: boolean;
    /** Any text up to maxLength UTF-16 units. false: others become UUIDv5 and the original goes into the payload. */
    readonly string: { readonly maxLength: number } | false;
    readonly composite: boolean;
  };
  readonly payload: {
    /** Field types kept as they are. Others are carried in the form that FieldType's documentation gives, as JSON. */
    readonly types: readonly FieldType[];
    /** False: the store has no place for a JSON object; a run with payload is refused. */
    readonly any: boolean;
    /** Largest integer magnitude kept exactly, as decimal text; undefined: any. A larger one is a RecordRefused that names it. */
    readonly maxInteger?: string;
    /** True: a number with a fraction may come back with other digits from the fifteenth on; validation allows for that. Undefined: as it was. */
    readonly nearDoubles?: boolean;
    /** Bytes of one record's payload. undefined: no limit that we know of. */
    readonly maxBytes?: number;
  };
  /** True: can insert only what is absent, which live runs need. */
  readonly insertOnly: boolean;
  /** True: records can be deleted by id, which live runs and writes to both sides need. */
  readonly deletes: boolean;
  /** True: the collection can be dropped, which `vecferry retire` does to what a run has replaced. False: it is dropped by hand. */
  readonly drops: boolean;
  /**
   * True: a collection can get a new vector beside the old one, or have one filled, while applications use it
   * (`"into": "place"`). False: such a run is refused.
   */
  readonly inPlace: boolean;
  /**
   * beside: a vector can have two indexes at once, so that both are searched side by side before the old one goes. instead: the new one
   * replaces the old one as it is built, and what the old one found is asked before. False: a run with `index` is refused.
   */
  readonly changesIndex: 'beside' | 'instead' | false;
  /** The pointer that readers of this store can follow; false: a routing flag is used. */
  readonly pointer: 'alias' | 'view' | false;
  /** snapshot: a range is read in one transaction. live: a record that changes meanwhile may be read in either state. */
  readonly reads: 'snapshot' | 'live';
  /** True: the collection can be a source or target only of runs on one machine (embedded engines on a local path). */
  readonly localOnly: boolean;
}

/** What a store file exports and the registry lists. */
export interface StoreKind {
  readonly name: string;
  readonly title: string;
  readonly capabilities: Capabilities;
  /** @throws InvalidEvent when connection, collection or options are not of the store's form. */
  open(endpoint: ResolvedEndpoint): Promise<Store>;
}

/** An endpoint of an event after its secret was read. Never logged. */
export interface ResolvedEndpoint {
  readonly connection: ResolvedConnection;
  readonly collection: string;
  /** The store's own options of the event, unparsed: each store has a schema for them. */
  readonly options: unknown;
  /** Payload fields that the run leaves out: a source that can leaves them unread, as if they were not there. `describe` names them still. */
  readonly omitFields?: readonly string[];
  /** Old and stable names, for a store whose collection may hold what was written under several. */
  readonly names?: Names;
  /** Of a run in place. */
  readonly place?: InPlace | undefined;
  /** Of a run that changes an index. */
  readonly index?: IndexSide | undefined;
}

export interface ResolvedConnection {
  readonly url?: string | undefined;
  readonly path?: string | undefined;
  readonly apiKey?: string | undefined;
  /** Everything else that the secret holds. */
  readonly [key: string]: unknown;
}
