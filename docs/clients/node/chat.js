// Chats, streams, repeats a lost call, cancels and reads errors. The protos are read at start: nothing is generated.
import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protoFiles from "google-proto-files";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROTOS = process.env.CHATBOT_PROTOS || join(HERE, "../../../protos");
const ADDRESS = process.env.CHATBOT_ADDRESS || "127.0.0.1:50051";
const API_KEY = process.env.CHATBOT_API_KEY;
const DEADLINE_SECONDS = 60;
const MAX_TRIES = 5;

const definition = protoLoader.loadSync(
  ["chatbot/v1/chat_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  {
    includeDirs: [PROTOS, protoFiles.getProtoPath("..")],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    arrays: true,
    oneofs: true,
  },
);
const { ChatService } = grpc.loadPackageDefinition(definition).chatbot.v1;
const unpack = (type, bytes) => definition[`google.rpc.${type}`].deserialize(bytes);

/** Metadata and deadline of one call. */
function callOptions() {
  const metadata = new grpc.Metadata();
  if (API_KEY) metadata.set("authorization", `Bearer ${API_KEY}`);
  return [metadata, { deadline: Date.now() + DEADLINE_SECONDS * 1000 }];
}

/** What a failed call tells: its status, and the details that its trailing metadata carries. */
class Failure {
  constructor(error) {
    this.code = grpc.status[error.code];
    this.message = error.details;
    this.reason = "";
    this.violations = [];
    this.retrySeconds = undefined;
    const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
    for (const { type_url, value } of packed ? unpack("Status", packed).details : []) {
      const type = type_url.replace("type.googleapis.com/google.rpc.", "");
      if (type === "ErrorInfo") this.reason = unpack(type, value).reason;
      if (type === "BadRequest") this.violations = unpack(type, value).field_violations;
      if (type === "RetryInfo") {
        const delay = unpack(type, value).retry_delay;
        this.retrySeconds = Number(delay.seconds) + delay.nanos / 1e9;
      }
    }
  }

  /** After how long the same call is worth repeating; undefined: it is not. */
  secondsToWait() {
    return this.retrySeconds ?? (this.code === "UNAVAILABLE" ? 1 : undefined);
  }

  show() {
    // Words that are not the backend's own may be anything: a proxy's page, a library's internals.
    console.log(`! ${this.code}` + (this.reason ? ` ${this.reason}: ${this.message}` : ""));
    for (const { field, description } of this.violations) console.log(`!   ${field}: ${description}`);
    if (this.retrySeconds !== undefined) console.log(`!   worth repeating in ${this.retrySeconds} s`);
  }
}

function request(conversation, text) {
  return { conversation, text, request_id: randomUUID(), sampling: { temperature: 0, max_tokens: 1000 } };
}

/**
 * Streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
 * `request_id`: what had arrived is carried out once, and the stored outcome is replayed.
 */
async function say(client, said) {
  for (let tries = 1; ; tries++) {
    console.log(`> ${said.text}`);
    try {
      return await show(client.Chat(said, ...callOptions()));
    } catch (error) {
      const failure = new Failure(error);
      failure.show();
      const seconds = failure.secondsToWait();
      if (seconds === undefined || tries === MAX_TRIES) throw error;
      await sleep(seconds * 1000);
    }
  }
}

/** Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again. */
async function show(events) {
  let replayed = "";
  let reply;
  for await (const { event, started, delta, finished } of events) {
    if (event === "started") {
      replayed = started.replayed ? ", replayed" : "";
    } else if (event === "delta") {
      process.stdout.write(delta.text);
    } else {
      reply = finished.message;
      console.log(`\n[${reply.finish_reason}, ${reply.usage.completion_tokens} tokens${replayed}]`);
    }
  }
  if (!reply) throw new Error("The stream ended before the reply did.");
  return reply;
}

/** Cancels the call after a few pieces of the reply. While it runs, its conversation is busy. */
async function sayAndStop(client, said) {
  console.log(`> ${said.text}`);
  const call = client.Chat(said, ...callOptions());
  let pieces = 0;
  try {
    for await (const { event, delta } of call) {
      // A piece may have been on its way already when the call was cancelled.
      if (event !== "delta" || pieces === 5) continue;
      pieces += 1;
      process.stdout.write(delta.text);
      if (pieces === 3) {
        console.log();
        await showRefusal(client, request(said.conversation, "Are you there?"));
      }
      if (pieces === 5) {
        console.log();
        call.cancel();
      }
    }
  } catch (error) {
    new Failure(error).show();
  }
}

async function showRefusal(client, said) {
  try {
    for await (const _ of client.Chat(said, ...callOptions()));
  } catch (error) {
    new Failure(error).show();
  }
}

function listMessages(client, conversation) {
  return new Promise((resolve, reject) => {
    client.ListMessages({ conversation }, ...callOptions(), (error, page) => (error ? reject(error) : resolve(page.messages)));
  });
}

async function main(client) {
  // No conversation is named, so a new one is begun; its name is part of every message's name.
  const question = request("", "What is the capital of France?");
  const reply = await say(client, question);
  const conversation = reply.name.split("/messages/")[0];
  // The same request_id again: nothing is generated, nothing is stored twice.
  await say(client, question);

  const story = request(conversation, "Tell me a long story about the sea.");
  await sayAndStop(client, story);
  // What the model had said is kept, and its request_id replays it.
  await say(client, story);

  await showRefusal(client, request(conversation, " "));
  await showRefusal(client, request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"));

  console.log(`${conversation}:`);
  for (const { role, finish_reason, content } of await listMessages(client, conversation)) {
    const how = finish_reason === "FINISH_REASON_UNSPECIFIED" ? "" : ` ${finish_reason}`;
    console.log(`- ${role}${how}, ${[...content].length} characters`);
  }
}

const client = new ChatService(ADDRESS, grpc.credentials.createInsecure());
try {
  await main(client);
} catch (error) {
  console.error(error.code === undefined ? error : `The call failed: ${grpc.status[error.code]}.`);
  process.exitCode = 1;
} finally {
  client.close();
}
