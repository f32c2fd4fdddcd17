/**
 * A scanner over JSON text: it finds where values begin and end and hands out slices, so that integers above 2^53 and
 * the spelling of every number survive. JSON.parse would round them.
 */

const quote = 34;
const backslash = 92;

/** Calls `visit` with each key, and where its value begins and ends. @throws SyntaxError when `text` has no object at `at`. */
export function eachField(text: string, at: number, visit: (key: string, from: number, to: number) => void): number {
  let next = afterSpace(text, expect(text, at, '{'));
  if (text[next] === '}') return next + 1;
  for (;;) {
    const keyEnd = endOfString(text, next);
    const from = afterSpace(text, expect(text, keyEnd, ':'));
    const to = endOfValue(text, from);
    visit(stringAt(text, next, keyEnd), from, to);
    next = afterSpace(text, to);
    if (text[next] === '}') return next + 1;
    next = afterSpace(text, expect(text, next, ','));
  }
}

/** Calls `visit` with where each item of the array at `at` begins and ends. @throws SyntaxError when there is no array. */
export function eachItem(text: string, at: number, visit: (from: number, to: number) => void): number {
  let next = afterSpace(text, expect(text, at, '['));
  if (text[next] === ']') return next + 1;
  for (;;) {
    const to = endOfValue(text, next);
    visit(next, to);
    next = afterSpace(text, to);
    if (text[next] === ']') return next + 1;
    next = afterSpace(text, expect(text, next, ','));
  }
}

/** Where the value that begins at `at` ends. @throws SyntaxError when the text ends first. */
export function endOfValue(text: string, at: number): number {
  const code = text.charCodeAt(at);
  if (code === quote) return endOfString(text, at);
  if (code !== 123 && code !== 91) return endOfScalar(text, at);
  let depth = 0;
  for (let next = at; next < text.length; next++) {
    const each = text.charCodeAt(next);
    if (each === quote) next = endOfString(text, next) - 1;
    else if (each === 123 || each === 91) depth++;
    else if ((each === 125 || each === 93) && --depth === 0) return next + 1;
  }
  throw new SyntaxError(`the value at ${at} has no end`);
}

/** Where the number, true, false or null at `at` ends. @throws SyntaxError when there is none. */
export function endOfScalar(text: string, at: number): number {
  let next = at;
  for (; next < text.length; next++) {
    const code = text.charCodeAt(next);
    // digits, letters, + - .
    const isPart = (code >= 48 && code <= 57) || (code >= 97 && code <= 122) || code === 69 || isSign(code);
    if (!isPart) break;
  }
  if (next === at) throw new SyntaxError(`no JSON value at ${at}`);
  return next;
}

/** Where the string whose opening quote is at `at` ends, behind its closing quote. @throws SyntaxError when there is none. */
export function endOfString(text: string, at: number): number {
  if (text.charCodeAt(at) !== quote) throw new SyntaxError(`no JSON string at ${at}`);
  let end = text.indexOf('"', at + 1);
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  if (end === -1) throw new SyntaxError(`the string at ${at} has no end`);
  return end + 1;
}

/** The string between its quotes at `from` and before `to`, unescaped. */
export function stringAt(text: string, from: number, to: number): string {
  const inner = text.slice(from + 1, to - 1);
  return inner.includes('\\') ? unescapeString(text.slice(from, to)) : inner;
}

export function afterSpace(text: string, at: number): number {
  let next = at;
  for (; ; next++) {
    const code = text.charCodeAt(next);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return next;
  }
}

/** The position behind `mark`, which is the next thing after white space. @throws SyntaxError when it is not. */
export function expect(text: string, at: number, mark: string): number {
  const next = afterSpace(text, at);
  if (text[next] !== mark) throw new SyntaxError(`expected ${mark} at ${next}, found '${text.slice(next, next + 20)}'`);
  return next + 1;
}

/** The dotted path of the value at `offset` of an object's text: for messages, so it may be slow. */
export function pathAt(text: string, offset: number): string {
  const path: string[] = [];
  const descend = (from: number): void => {
    if (text[from] === '{') {
      eachField(text, from, (key, begin, end) => {
        if (begin > offset || end <= offset) return;
        path.push(key);
        descend(begin);
      });
    } else if (text[from] === '[') {
      let index = 0;
      eachItem(text, from, (begin, end) => {
        if (begin <= offset && end > offset) {
          path.push(String(index));
          descend(begin);
        }
        index++;
      });
    }
  };
  descend(afterSpace(text, 0));
  return path.join('.');
}

function unescapeString(quoted: string): string {
  const value: unknown = JSON.parse(quoted);
  if (typeof value !== 'string') throw new SyntaxError(`${quoted} is no JSON string`);
  return value;
}

/** A quote is escaped when an odd number of backslashes stands before it. */
function isEscaped(text: string, at: number): boolean {
  let before = at - 1;
  while (text.charCodeAt(before) === backslash) before--;
  return (at - 1 - before) % 2 === 1;
}

function isSign(code: number): boolean {
  return code === 43 || code === 45 || code === 46;
}
