/** The style of the report's page, within it: the page needs no network. */
export const pageStyle = `
:root {
  --ground: #f6f5f2; --sheet: #ffffff; --ink: #1c1e21; --dim: #5d636b; --line: #e2e0da; --code: #f0eee9;
  --good: #166b3f; --good-soft: #e4f3ea; --bad: #b3261e; --bad-soft: #fbe9e7; --open: #8a5a00; --open-soft: #fbf0d9; --accent: #2457a6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131518; --sheet: #1b1e22; --ink: #e8e9eb; --dim: #a0a6ae; --line: #32363c; --code: #262a2f;
    --good: #5cc98f; --good-soft: #17301f; --bad: #ff8a80; --bad-soft: #3a1c1a; --open: #f0bd57; --open-soft: #35290f; --accent: #8db4f2;
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
.pair > table { align-self: start; } section > .pair { grid-template-columns: 3fr 2fr; gap: 1.5rem; } .recall td { vertical-align: middle; } .scale { text-align: center; white-space: nowrap; }
svg { display: block; margin: 0 auto; } .axis { stroke: var(--line); stroke-width: 2; } .goal { stroke: var(--dim); stroke-width: 1.5; stroke-dasharray: 3 2; }
.range { stroke: var(--accent); stroke-width: 4; stroke-linecap: round; } .mean { fill: var(--accent); stroke: var(--sheet); stroke-width: 1.5; }
.bar { display: flex; gap: 2px; height: 10px; border-radius: 5px; overflow: hidden; margin: .2rem 0 .8rem; }
.bar span { flex-basis: 0; min-width: 3px; } .bar .validated { background: var(--good); } .bar .failed { background: var(--bad); } .bar .unproven { background: var(--open); }
details { border-top: 1px solid var(--line); padding: .5rem 0 0; margin-top: .5rem; } summary { cursor: pointer; font-weight: 600; padding: .15rem 0; }
.time { display: inline-block; margin-right: 1.25rem; } ul { padding-left: 1.2rem; margin: .2rem 0; } li { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  main { padding: .6rem .6rem 3rem; } section, header { padding: .9rem 1rem; } h1 { font-size: 1.6rem; } .checks, .pair, section > .pair { grid-template-columns: minmax(0, 1fr); } .scale { display: none; }
  .entries, .entries tbody, .entries tr, .entries td, .entries th { display: block; } .entries thead { display: none; }
  .entries tr { border-bottom: 1px solid var(--line); padding: .4rem 0; } .entries tr > :first-child, .entries tr > * { width: auto; border: 0; padding: .05rem 0; }
}
@media print { body { background: none; } section, header { break-inside: avoid; } }
`;
