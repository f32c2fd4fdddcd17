/** What a model of Bedrock answers to one request, whoever made it. */
export interface BedrockAnswer {
  readonly vectors: readonly (Float32Array | undefined)[];
  readonly tokens: number | undefined;
}
