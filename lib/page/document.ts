import { html, type Markup, raw } from '../html.ts';
import { pageStyle } from './style.ts';

/** A whole page: no script, no network, readable on a phone, on paper, in light and in dark. @param style beside that of all pages */
export function pageDocument(title: string, parts: Markup, style = ''): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${raw(pageStyle + style)}</style>
</head>
<body>
<main>
${parts}
</main>
</body>
</html>
`.markup;
}
