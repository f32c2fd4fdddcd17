export const howToInstall: string;
export function findBrowser(): string | undefined;
