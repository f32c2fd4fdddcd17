import { BedrockRuntimeServiceException } from '@aws-sdk/client-bedrock-runtime';
import {
  AccessDenied,
  InvalidEvent,
  RecordRefused,
  StoreUnavailable,
  Throttled,
  type VecferryError,
} from '../errors.ts';

/** docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html, "Errors". */
export function fromBedrock(error: unknown, model: string): VecferryError {
  const reason = error instanceof Error ? error.message : String(error);
  const details = { cause: error };
  if (!(error instanceof BedrockRuntimeServiceException)) {
    if (error instanceof Error && /^(?:CredentialsProviderError|TokenProviderError)$/.test(error.name)) {
      return new AccessDenied(`there are no AWS credentials to ask Bedrock's '${model}' with: ${reason}`, details);
    }
    return new StoreUnavailable(`Bedrock cannot be reached for '${model}': ${reason}`, details);
  }
  const said = `Bedrock answered '${model}' with ${error.name}: ${reason}`;
  switch (error.name) {
    case 'ThrottlingException':
    case 'TooManyRequestsException':
    case 'ServiceQuotaExceededException':
    // The model is being made ready; it takes no more for the moment.
    case 'ModelNotReadyException':
      return new Throttled(said, { ...pauseOf(error), ...details });
    case 'AccessDeniedException':
    case 'UnrecognizedClientException':
    case 'InvalidSignatureException':
    case 'ExpiredTokenException': {
      const next = 'give the role bedrock:InvokeModel, and the account access to the model';
      return new AccessDenied(`${said}; ${next}`, details);
    }
    case 'ResourceNotFoundException':
      return new InvalidEvent(`${said}; check embed.model.name and its region`, { ids: ['embed.model'], ...details });
    case 'ValidationException':
      return isOfTheEvent(reason)
        ? new InvalidEvent(`${said}; check embed.model`, { ids: ['embed.model'], ...details })
        : new RecordRefused(said, details);
    default:
      return new StoreUnavailable(said, details);
  }
}

/** What Bedrock's ValidationException says of a model rather than of a text. */
function isOfTheEvent(reason: string): boolean {
  return /model identifier|on-demand throughput|inference profile|dimensions?\b|operation not allowed/i.test(reason);
}

function pauseOf({ $response }: BedrockRuntimeServiceException): { readonly retryAfterMs?: number } {
  const seconds = Number($response?.headers['retry-after'] ?? Number.NaN);
  return Number.isFinite(seconds) ? { retryAfterMs: seconds * 1000 } : {};
}
