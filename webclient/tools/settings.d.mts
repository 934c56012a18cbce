export type Environment = Record<
  "HADES_API_BASE_URL" | "HADES_API_KEY" | "HADES_REQUEST_ID_HEADER" | "HADES_SESSION_ID_HEADER" | "HADES_DEFAULT_MODEL",
  string
>;
export function environment(environ?: NodeJS.ProcessEnv, file?: string): Environment;
export function page_settings(set: Environment): object;
export function policy(connect: readonly string[]): string;
