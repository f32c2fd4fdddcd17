import {
  addingFieldWithDefault,
  addingJsonColumn,
  addingNotNullableField,
  addingRequiredField,
  dropColumn,
} from './columns.ts';
import { addingColumnConstraint, addingConstraint, detachingPartition, validatingTooEarly } from './constraints.ts';
import { enumValueTooEarly, longWorkWhileLocked, losingData, updatingAll } from './data.ts';
import { creatingIndex, droppingIndex, reindexing, vectorIndex } from './indexes.ts';
import { renaming } from './renames.ts';
import { lockingTable, notAlone, refreshing, rewritingTable, transactionInFile } from './rewrites.ts';
import type { Rule } from './rule.ts';
import { changingColumnType } from './types.ts';

/** Every rule of ours, over PostgreSQL's own tree of a statement. */
export const rules: readonly Rule[] = [
  addingRequiredField,
  addingFieldWithDefault,
  addingNotNullableField,
  addingJsonColumn,
  dropColumn,
  changingColumnType,
  renaming,
  addingConstraint,
  addingColumnConstraint,
  validatingTooEarly,
  detachingPartition,
  creatingIndex,
  droppingIndex,
  reindexing,
  vectorIndex,
  updatingAll,
  longWorkWhileLocked,
  losingData,
  enumValueTooEarly,
  rewritingTable,
  refreshing,
  lockingTable,
  notAlone,
  transactionInFile,
];

/** The names of what they find. Where squawk has the rule too, the name is squawk's. */
export const ownRuleNames: ReadonlySet<string> = new Set([
  'adding-exclusion-constraint',
  'adding-field-with-default',
  'adding-foreign-key-constraint',
  'adding-json-column',
  'adding-not-nullable-field',
  'adding-required-field',
  'adding-serial-primary-key-field',
  'attaching-unchecked-partition',
  'backfill-in-one-statement',
  'ban-drop-column',
  'ban-drop-database',
  'ban-drop-schema',
  'ban-drop-table',
  'ban-truncate',
  'ban-truncate-cascade',
  'changing-column-type',
  'changing-vector-dimension',
  'constraint-missing-not-valid',
  'data-after-schema-change',
  'delete-without-where',
  'disallowed-unique-constraint',
  'enum-value-used-too-early',
  'index-over-too-many-dimensions',
  'ivfflat-on-empty-table',
  'locking-table',
  'not-alone',
  'refresh-without-concurrently',
  'renaming-column',
  'renaming-schema',
  'renaming-table',
  'require-concurrent-index-creation',
  'require-concurrent-index-deletion',
  'require-concurrent-partition-detach',
  'require-concurrent-reindex',
  'rewriting-table',
  'transaction-nesting',
  'validating-in-same-transaction',
  'vector-index-without-memory',
]);

/** Rules that squawk alone knows, and what is done instead. */
export const squawkSteps: Readonly<Record<string, readonly string[]>> = {
  'ban-drop-not-null': [
    'deploy: every reader takes a null',
    'contract: this statement; it is quick, and taking it back later needs a scan',
  ],
  'ban-create-domain-with-constraint': [
    'expand: the domain without the constraint, and the constraint on each column as CHECK … NOT VALID',
  ],
  'ban-alter-domain-with-add-constraint': [
    'expand: ALTER DOMAIN … ADD CONSTRAINT … NOT VALID;',
    'contract: ALTER DOMAIN … VALIDATE CONSTRAINT …;',
  ],
  'identifier-too-long': [
    'expand: a name of 63 bytes at most; the server cuts a longer one, and two may become the same',
  ],
};
