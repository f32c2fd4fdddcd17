/** Figures as people read them, in reports and messages. */

const integers = new Intl.NumberFormat('en-US');

/** 1,234,567 */
export function count(value: number): string {
  return integers.format(value);
}

/** `1 record`, `10,000 records`, `2 queries` */
export function plural(value: number, word: string): string {
  return `${count(value)} ${value === 1 ? word : `${word}s`.replace(/querys$/, 'queries')}`;
}

/** A share of 1 with two digits, rounded down, so that 99.999 % never reads as 100. */
export function percent(share: number): string {
  return `${(Math.floor(share * 10_000 + 1e-9) / 100).toFixed(2)}%`;
}

/** 512 bytes, 1.5 MiB */
export function bytes(value: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [size, unit] = [value, 0];
  for (; size >= 1024 && unit < units.length - 1; unit++) size /= 1024;
  return unit === 0 ? plural(value, 'byte') : `${size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** 0.4 s, 12 s, 3 min 20 s, 2 h 5 min */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** 0.42 ms, 12.3 ms, 1,200 ms */
export function milliseconds(value: number): string {
  if (value >= 100) return `${count(Math.round(value))} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} ms`;
}

/** Dollars with as many digits as say something: 0.000012, 0.42, 14.20 */
export function money(usd: number): string {
  if (usd === 0 || usd >= 0.1) return usd.toFixed(2);
  return usd.toFixed(Math.min(8, 1 - Math.floor(Math.log10(usd))));
}
