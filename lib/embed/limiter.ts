/** Keeps to a provider's requests and tokens a minute. */
export interface Limiter {
  /** Milliseconds until a request of so many tokens may begin; 0: now. */
  waitMs(tokens: number, now: number): number;
  /** One begins. A refused one counts too: providers count them (platform.openai.com/docs/guides/rate-limits). */
  took(tokens: number, now: number): void;
}

const minuteMs = 60_000;

/**
 * A sliding window: what was begun within the last minute never passes the rate, whichever minute one looks at. (A bucket
 * that holds a minute's worth lets twice the rate through in its first.) A text of more tokens than a minute has goes alone
 * in its minute.
 */
export function makeLimiter(limits: { readonly requestsPerMinute: number; readonly tokensPerMinute: number }): Limiter {
  const begun: { readonly at: number; readonly tokens: number }[] = [];
  let first = 0;
  let tokensBegun = 0;
  const forget = (now: number): void => {
    for (let each = begun[first]; each !== undefined && each.at <= now - minuteMs; each = begun[first]) {
      tokensBegun -= each.tokens;
      first += 1;
    }
    if (first > 1_000 && first * 2 > begun.length) {
      begun.splice(0, first);
      first = 0;
    }
  };
  const maxRequests = Math.max(1, limits.requestsPerMinute);
  return {
    waitMs: (tokens, now) => {
      forget(now);
      let requestsLeft = begun.length - first;
      let tokensLeft = tokensBegun;
      for (let i = first; i <= begun.length; i++) {
        const fits = requestsLeft + 1 <= maxRequests && tokensLeft + tokens <= limits.tokensPerMinute;
        // With nothing else in its minute, a request goes whatever its size.
        if (fits || requestsLeft === 0) {
          const last = begun[i - 1];
          return i === first || last === undefined ? 0 : Math.max(0, last.at + minuteMs - now);
        }
        requestsLeft -= 1;
        tokensLeft -= begun[i]?.tokens ?? 0;
      }
      return 0;
    },
    took: (tokens, now) => {
      begun.push({ at: now, tokens });
      tokensBegun += tokens;
    },
  };
}
