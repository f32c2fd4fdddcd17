/**
 * Milliseconds that an answer asks to wait: `retry-after-ms`; `retry-after` in seconds or as a date; else OpenAI's
 * `x-ratelimit-reset-*` of what is used up (`1s`, `6m0s`, `120ms`; platform.openai.com/docs/guides/rate-limits). Undefined
 * where it says nothing.
 */
export function retryAfterMs(headers: Headers, now: number = Date.now()): number | undefined {
  const exact = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (Number.isFinite(exact)) return Math.max(0, exact);
  const after = headers.get('retry-after');
  if (after !== null && after !== '') {
    const seconds = Number(after);
    const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(after) - now;
    if (Number.isFinite(ms)) return Math.max(0, ms);
  }
  const resets = ['requests', 'tokens']
    .filter((what) => (headers.get(`x-ratelimit-remaining-${what}`) ?? '0') === '0')
    .map((what) => parseDuration(headers.get(`x-ratelimit-reset-${what}`)))
    .filter((each) => each !== undefined);
  return resets.length === 0 ? undefined : Math.max(...resets);
}

const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** A duration as Go writes it. */
function parseDuration(text: string | null): number | undefined {
  if (text === null || !/^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)) {
    ms += Number(number) * (unitMs[unit] ?? 0);
  }
  return ms;
}
