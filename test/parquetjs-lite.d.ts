/** The little of parquetjs-lite that the tests call; the package has no types. */
declare module 'parquetjs-lite' {
  // biome-ignore lint/suspicious/noExplicitAny: a row is of whatever form its file has
  type Row = any;
  class ParquetReader {
    static openFile(path: string): Promise<ParquetReader>;
    getCursor(columns?: readonly (readonly string[])[]): { next(): Promise<Row> };
    close(): Promise<void>;
  }
}
