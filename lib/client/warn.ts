/** Errors of the background as warnings of the process, at most one a second: those left out are counted in the next. */
export function makeWarner(): (error: Error) => void {
  let warnedAt = -Infinity;
  let leftOut = 0;
  return (error) => {
    if (performance.now() - warnedAt < 1000) {
      leftOut += 1;
      return;
    }
    const more = leftOut === 0 ? '' : ` (and ${leftOut} more since the last warning)`;
    process.emitWarning(`${error.message}${more}`, 'VecferryWarning');
    warnedAt = performance.now();
    leftOut = 0;
  };
}
