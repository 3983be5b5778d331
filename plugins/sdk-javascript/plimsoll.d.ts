/** Helpers for Plimsoll plugins in JavaScript. */

/** The request that a stage processes. */
export interface Request {
  /** Identifies the request; repeated in every log line and in the reply. */
  id: string;
  /** The caller's Content-Type. A hint only: decide by the bytes of the body. */
  contentType?: string;
  /** The caller's query parameters, percent-decoded, in the order of the URL. */
  parameters: [string, string][];
}

/** A tensor that the host holds. Elements are row-major, bytes little-endian. */
export interface Tensor {
  dimensions(): Uint32Array;
  ty(): "FP16" | "FP32" | "FP64" | "BF16" | "U8" | "I32" | "I64";
  data(): Uint8Array;
}

/** A name and its tensor. */
export type NamedTensor = [string, Tensor];

/** The result of preprocessing; `context` is passed to postprocessing unchanged. */
export interface Prepared {
  tensors: NamedTensor[];
  context: Uint8Array;
}

/** The reply to the caller. */
export interface Reply {
  contentType: string;
  body: Uint8Array;
}

/** `export const preprocess: Preprocess` is a preprocess stage. */
export interface Preprocess {
  run(request: Request, body: Uint8Array): Prepared;
}

/** `export const infer: Infer` is an infer stage. */
export interface Infer {
  run(request: Request, inputs: NamedTensor[]): NamedTensor[];
}

/** `export const postprocess: Postprocess` is a postprocess stage. */
export interface Postprocess {
  run(request: Request, outputs: NamedTensor[], context: Uint8Array): Reply;
}

/** The plugin does not support the format of the body: status 415. The caller gets the message. */
export class UnsupportedMediaType extends Error {
  constructor(message: string);
}

/** The body or a parameter is invalid: status 422. The caller gets the message. */
export class InvalidInput extends Error {
  constructor(message: string);
}

/** Processing the body would exceed a limit of the plugin: status 413. The caller gets the message. */
export class TooLarge extends Error {
  constructor(message: string);
}

/** A fault of the plugin, its configuration or the model: status 500. The message is only logged. */
export class Internal extends Error {
  constructor(message: string);
}

/** The limits of a number. */
export interface Range {
  minimum?: number;
  maximum?: number;
}

/** The table `config` of the stage. A key without a fallback is required. Call these functions only in `run`. */
export const config: {
  text(key: string, fallback?: string): string;
  integer(key: string, fallback?: number, range?: Range): number;
  number(key: string, fallback?: number, range?: Range): number;
  flag(key: string, fallback?: boolean): boolean;
  /** The items of a list, as texts. */
  list(key: string, fallback?: string[]): string[];
  /** Refuses keys that are not in `known`, so that a misspelt key is found by the sample of a deployment. */
  only(...known: string[]): void;
};

/** The files of the table `assets`. Call these functions only in `run`. */
export const assets: {
  bytes(name: string): Uint8Array;
  /** One label for each line; the first line is class 0. */
  labels(name: string): string[];
};

/** The typed arrays of elements. */
export type Elements = Float32Array | Float64Array | Uint8Array | Int32Array | BigInt64Array;

/** A tensor of this shape. An array of numbers becomes FP32. */
export function tensor(shape: number[], values: Elements | number[]): Tensor;
/** The elements of a tensor, as the typed array of their type. */
export function values(tensor: Tensor): Elements;
/** The sizes of a tensor's dimensions. */
export function shape(tensor: Tensor): number[];
/** The tensor with this name, or the only one if no name is given. */
export function find(tensors: NamedTensor[], name?: string): Tensor;
/** A reply with `value` as JSON. NaN and infinity are an error. */
export function jsonReply(value: unknown): Reply;
