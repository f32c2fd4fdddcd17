/** The style of the report's page, within it: the page needs no network. */
export const pageStyle = `
:root {
  --ground: #f6f5f2; --sheet: #ffffff; --ink: #1c1e21; --dim: #5d636b; --line: #e2e0da; --code: #f0eee9;
  --good: #166b3f; --good-soft: #e4f3ea; --bad: #b3261e; --bad-soft: #fbe9e7; --open: #8a5a00; --open-soft: #fbf0d9; --accent: #2457a6;
  --source: #b8500b; --target: #0067a3;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #131518; --sheet: #1b1e22; --ink: #e8e9eb; --dim: #a0a6ae; --line: #32363c; --code: #262a2f;
    --good: #5cc98f; --good-soft: #17301f; --bad: #ff8a80; --bad-soft: #3a1c1a; --open: #f0bd57; --open-soft: #35290f; --accent: #8db4f2;
    --source: #f0a860; --target: #66bdf0;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
section, header { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.25rem; margin: 0 0 1rem; }
header { border-left-width: 6px; padding: 1.4rem 1.5rem; }
header.validated { border-left-color: var(--good); } header.failed { border-left-color: var(--bad); } header.unproven { border-left-color: var(--open); }
h1 { font-size: 2rem; line-height: 1.15; margin: .2rem 0 .5rem; letter-spacing: -.015em; }
.validated h1, .checks .validated .mark, .checks .validated .state { color: var(--good); }
.failed h1, .checks .failed .mark, .checks .failed .state { color: var(--bad); }
.unproven h1, .checks .unproven .mark, .checks .unproven .state { color: var(--open); }
h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .35rem 0; overflow-wrap: anywhere; }
.eyebrow, .dim, .state { color: var(--dim); font-size: .875rem; }
.eyebrow { margin: 0; }
.route { font-size: 1.05rem; } .arrow { color: var(--dim); }
.summary { max-width: 46rem; }
section[aria-label="Checks"] { padding: 0; overflow: hidden; }
.checks { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1px; background: var(--line); }
.checks li { display: flex; gap: .75rem; padding: .9rem 1.25rem; background: var(--sheet); }
.checks li:last-child:nth-child(odd) { grid-column: 1 / -1; }
.checks p { color: var(--dim); margin: .1rem 0 0; font-size: .9375rem; }
.checks .mark { flex: none; width: 1.6rem; height: 1.6rem; border-radius: 50%; display: grid; place-items: center; font-weight: 700; font-size: .9rem; background: var(--code); }
.checks .validated .mark { background: var(--good-soft); } .checks .failed .mark { background: var(--bad-soft); } .checks .unproven .mark { background: var(--open-soft); }
.findings { margin: 0; padding: 0; list-style: none; }
.findings li { border-left: 4px solid; border-radius: 4px; padding: .6rem .9rem; margin: .6rem 0; }
.findings .failed { border-color: var(--bad); background: var(--bad-soft); } .findings .unproven { border-color: var(--open); background: var(--open-soft); }
.findings p { margin: .15rem 0; } .what { font-weight: 600; }
code { font: .875em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--code); border-radius: 4px; padding: .1em .35em; overflow-wrap: anywhere; }
.findings code { background: var(--sheet); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); font-weight: 400; }
tr:last-child > th, tr:last-child > td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th, thead td { color: var(--dim); font-size: .875rem; border-bottom: 1px solid var(--line) !important; }
.number { text-align: right; white-space: nowrap; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; margin: 0 0 1rem; }
.pair > section { margin: 0; }
.figures caption { text-align: left; }
.entries { table-layout: fixed; margin: .3rem 0 .6rem; } .entries td, .entries th { overflow-wrap: anywhere; }
.entries tr > :first-child { width: 28%; } .entries tbody { font-size: .9375rem; }
.scroll { overflow-x: auto; } .scroll > table { min-width: 100%; } .scroll th, .scroll td { overflow-wrap: normal; } .scroll th[scope=row] { min-width: 9rem; }
figure { margin: .9rem 0 .4rem; } figcaption, .legend { color: var(--dim); font-size: .875rem; }
.plot svg { display: block; width: 100%; height: auto; } .plot .narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 0 0 .3rem; } .legend span { display: inline-flex; align-items: center; gap: .4rem; }
.range { color: var(--dim); font-size: .9375rem; margin-left: .3rem; }
.key { flex: none; width: .8rem; height: .8rem; border: 2px solid var(--target); border-radius: 50%; background: var(--target); }
.key.source { border-color: var(--source); background: var(--sheet); border-radius: 0; transform: rotate(45deg) scale(.85); }
.key.goal { width: 1.4rem; height: 0; border: 0; border-top: 2px dashed var(--dim); border-radius: 0; background: none; }
.key.spread { width: 1.4rem; height: 5px; border: 0; border-radius: 3px; background: var(--dim); }
.key.mean { border-color: var(--dim); background: var(--sheet); border-radius: 0; transform: rotate(45deg) scale(.75); }
.key.chosen { width: 1.05rem; height: 1.05rem; border-color: var(--ink); background: none; }
.figures-of { border: 0; margin: 0; padding: 0; } .figures-of > summary { font-weight: 400; font-size: .875rem; color: var(--dim); }
.figures-of table { font-size: .875rem; }
.state.passed { color: var(--good); } .state.failed { color: var(--bad); } .state.unproven { color: var(--open); }
.set > summary { font-size: 1rem; overflow-wrap: anywhere; }
.causes { margin: .5rem 0; padding: .1rem .9rem; border-left: 2px solid var(--line); } .causes ul { list-style: none; padding: 0; margin: 0; } .causes li { border: 0; padding: .15rem 0; margin: .2rem 0; } .evidence { font-size: .9375rem; }
.example { border-top: 1px solid var(--line); margin: .6rem 0 0; padding: .5rem 0 0; } .example:first-of-type { border-top: 0; } .example .pair { margin: .3rem 0 .6rem; }
.example h4 { font-size: .875rem; color: var(--dim); font-weight: 400; margin: .2rem 0; } .example ol { padding-left: 1.4rem; margin: 0; font-size: .9375rem; }
.example code { display: inline-block; }
.new { color: var(--target); } .gone { color: var(--source); } .expected { color: var(--good); }
.findings .validated { border-color: var(--good); background: var(--good-soft); }
.settings { table-layout: fixed; } .settings th, .settings td { overflow-wrap: anywhere; } .settings .group th { font-weight: 600; padding-top: .9rem; } .settings .different > * { background: var(--open-soft); } .settings tr > * { padding-left: .5rem; } .settings .different th { font-weight: 600; }
.differs { color: var(--open); font-weight: 700; white-space: nowrap; } .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.unread li { color: var(--open); }
.bar { display: flex; gap: 2px; height: 10px; border-radius: 5px; overflow: hidden; margin: .2rem 0 .8rem; }
.bar span { flex-basis: 0; min-width: 3px; } .bar .validated { background: var(--good); } .bar .failed { background: var(--bad); } .bar .unproven { background: var(--open); }
details { border-top: 1px solid var(--line); padding: .5rem 0 0; margin-top: .5rem; } summary { cursor: pointer; font-weight: 600; padding: .15rem 0; }
.time { display: inline-block; margin-right: 1.25rem; } ul { padding-left: 1.2rem; margin: .2rem 0; } li { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .range { display: block; margin: 0; font-size: .875rem; } .measures th, .measures td { padding-right: .5rem; }
  main { padding: .6rem .6rem 3rem; } section, header { padding: .9rem 1rem; } h1 { font-size: 1.6rem; } .checks, .pair { grid-template-columns: minmax(0, 1fr); }
  .entries, .entries tbody, .entries tr, .entries td, .entries th { display: block; } .entries thead { display: none; }
  .entries tr { border-bottom: 1px solid var(--line); padding: .4rem 0; } .entries tr > :first-child, .entries tr > * { width: auto; border: 0; padding: .05rem 0; }
}
@media screen and (max-width: 50rem) { .plot .wide { display: none; } .plot .narrow { display: block; max-width: 30rem; margin: 0 auto; } }
@media print {
  :root { color-scheme: light; } body { background: none; font-size: 11pt; } main { max-width: none; padding: 0; }
  section, header { border-color: #bbb; } h2, h3, summary { break-after: avoid; } tr, li, .plot, .bar, header { break-inside: avoid; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; } .figures-of { display: none; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; }
}
`;
