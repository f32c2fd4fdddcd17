import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { definitionIn, drawRun } from '../../infra/draw.ts';
import { synthesize } from './template.ts';

const drawing = drawRun(definitionIn(synthesize()));

test('the drawing of the run shows every state that does something, and where each leads', () => {
  expect(drawing).toContain('PlanTheRun["Plan the run"]');
  expect(drawing).toContain('PlanTheRun --> DryRunQ');
  expect(drawing).toContain('DryRunQ -->|yes| PlannedNothingMoved');
  expect(drawing).toContain('DryRunQ -->|no| ValidateOnlyQ');
  expect(drawing).toContain('ValidateOnlyQ -->|yes| NoLiveWritesQ');
  expect(drawing).toContain('NoLiveWritesQ -->|yes| ExportEveryRange');
  expect(drawing).toContain('NoLiveWritesQ -->|no| BeginTheLiveWrites');
  expect(drawing).toContain('ValidateOnlyQ -->|no| PrepareTheTarget');
  expect(drawing).toContain('NothingToImportQ -->|yes| ChooseTheQueries');
  expect(drawing).toContain('subgraph ExportEveryRange["Export every range"]');
  expect(drawing).toContain('DoneAwaitTheImportQ -->|not yet| AwaitTheImport');
  expect(drawing).toContain('CutOverQ -->|yes| ApprovalQ');
  expect(drawing).toContain('ApprovedQ -->|yes| AtOnceQ');
  expect(drawing).toContain('ApprovedQ -->|no| TellThatReadersStay');
  expect(drawing).toContain('AskForApproval -.->|no answer in time| TellThatReadersStay');
  expect(drawing).toContain('AtOnceQ -->|yes| CutOver');
  expect(drawing).toContain('AllReadersMovedQ -->|not yet| StepTheCanary');
  expect(drawing).toContain('AllReadersMovedQ -->|yes| CutOver');
  expect(drawing).toContain('StepTheCanary -.->|fails| TakeReadersBack');
  expect(drawing).toContain('TakeReadersBack --> ReportTheFailure');
  expect(drawing).toContain('WhateverFails(("whatever fails")) -.-> ReportTheFailure');
  expect(drawing).toContain('PassedQ -->|no| IndexChangedQ');
  expect(drawing).toContain('IndexChangedQ -->|yes| TakeTheChangeBack');
  expect(drawing).toContain('IndexChangedQ -->|no| ReportTheFailure');
  expect(drawing).toContain('BothIndexesAtOnceQ -->|no| ChooseTheQueriesFirst');
  expect(drawing).not.toContain('Wait');
});

test("README.md shows it as it is; if not, put the output of `node infra/draw.ts` between the page's run marks", () => {
  const page = new URL('../../README.md', import.meta.url);
  const text = existsSync(page) ? readFileSync(page, 'utf8') : '';
  const shown = /<!-- run -->\n([\s\S]*?)\n<!-- \/run -->/.exec(text)?.[1];
  // A page without the marks shows no drawing, which could be out of date.
  if (text.includes('<!-- run -->')) expect(shown?.trim()).toBe(drawing);
});
