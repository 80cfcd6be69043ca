// Chats, streams, repeats a lost call, cancels and reads errors.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "chatbot/v1/chat_service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace {

using chatbot::v1::ChatMessage;
using chatbot::v1::ChatRequest;
using chatbot::v1::ChatResponse;
using chatbot::v1::ChatService;

constexpr auto kDeadline = std::chrono::seconds(60);
constexpr int kMaxTries = 5;

std::string Environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// The names of the gRPC specification, by number.
const char* StatusName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
      "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code <= grpc::UNAUTHENTICATED ? kNames[code] : "UNKNOWN";
}

// What a failed call tells: its status, and the details that its trailing metadata carries.
struct Failure {
  explicit Failure(const grpc::Status& status) : code(status.error_code()), message(status.error_message()) {
    google::rpc::Status packed;
    // Bytes that are no status leave it as far as it could be read; the call's status remains.
    (void)packed.ParseFromString(status.error_details());
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    for (const auto& detail : packed.details()) {
      if (detail.UnpackTo(&info)) {
        reason = info.reason();
      } else if (detail.UnpackTo(&bad_request)) {
        violations.assign(bad_request.field_violations().begin(), bad_request.field_violations().end());
      } else if (detail.UnpackTo(&retry)) {
        retry_seconds = static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() / 1e9;
      }
    }
  }

  // After how many seconds the same call is worth repeating; nothing: it is not.
  std::optional<double> SecondsToWait() const {
    if (!retry_seconds && code == grpc::UNAVAILABLE) return 1.0;
    return retry_seconds;
  }

  void Show() const {
    // Words that are not the backend's own may be anything: a proxy's page, a library's internals.
    std::cout << "! " << StatusName(code) << (reason.empty() ? "" : " " + reason + ": " + message) << "\n";
    for (const auto& violation : violations) {
      std::cout << "!   " << violation.field() << ": " << violation.description() << "\n";
    }
    if (retry_seconds) std::cout << "!   worth repeating in " << *retry_seconds << " s\n";
    std::cout.flush();
  }

  grpc::StatusCode code;
  std::string message;
  std::string reason;
  std::vector<google::rpc::BadRequest::FieldViolation> violations;
  std::optional<double> retry_seconds;
};

class CallFailed : public std::runtime_error {
 public:
  explicit CallFailed(grpc::StatusCode code)
      : std::runtime_error(std::string("The call failed: ") + StatusName(code) + ".") {}
};

std::string NewRequestId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/uuid") >> id;
  return id;
}

ChatRequest Request(const std::string& conversation, const std::string& text) {
  ChatRequest request;
  request.set_conversation(conversation);
  request.set_text(text);
  request.set_request_id(NewRequestId());
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_max_tokens(1000);
  return request;
}

class Client {
 public:
  Client(const std::string& address, std::string api_key)
      : stub_(ChatService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))),
        api_key_(std::move(api_key)) {}

  // Streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
  // request_id: what had arrived is carried out once, and the stored outcome is replayed.
  ChatMessage Say(const ChatRequest& said) {
    for (int attempt = 1;; ++attempt) {
      std::cout << "> " << said.text() << std::endl;
      ChatMessage reply;
      const grpc::Status status = Show(said, &reply);
      if (status.ok()) return reply;
      const Failure failure(status);
      failure.Show();
      const auto seconds = failure.SecondsToWait();
      if (!seconds || attempt == kMaxTries) throw CallFailed(failure.code);
      std::this_thread::sleep_for(std::chrono::duration<double>(*seconds));
    }
  }

  // Cancels the call after a few pieces of the reply. While it runs, its conversation is busy.
  void SayAndStop(const ChatRequest& said) {
    std::cout << "> " << said.text() << std::endl;
    grpc::ClientContext call;
    Prepare(&call);
    const auto events = stub_->Chat(&call, said);
    ChatResponse event;
    int pieces = 0;
    while (events->Read(&event)) {
      // A piece may have been on its way already when the call was cancelled.
      if (!event.has_delta() || pieces == 5) continue;
      ++pieces;
      std::cout << event.delta().text() << std::flush;
      if (pieces == 3) {
        std::cout << std::endl;
        ShowRefusal(Request(said.conversation(), "Are you there?"));
      }
      if (pieces == 5) {
        std::cout << std::endl;
        call.TryCancel();
      }
    }
    if (const grpc::Status status = events->Finish(); !status.ok()) Failure(status).Show();
  }

  void ShowRefusal(const ChatRequest& said) {
    grpc::ClientContext call;
    Prepare(&call);
    const auto events = stub_->Chat(&call, said);
    ChatResponse event;
    while (events->Read(&event)) {
    }
    if (const grpc::Status status = events->Finish(); !status.ok()) Failure(status).Show();
  }

  void ShowHistory(const std::string& conversation) {
    grpc::ClientContext call;
    Prepare(&call);
    chatbot::v1::ChatServiceListMessagesRequest request;
    request.set_conversation(conversation);
    chatbot::v1::ChatServiceListMessagesResponse page;
    const grpc::Status status = stub_->ListMessages(&call, request, &page);
    if (!status.ok()) throw CallFailed(status.error_code());
    std::cout << conversation << ":\n";
    for (const auto& message : page.messages()) {
      std::cout << "- " << chatbot::v1::Role_Name(message.role());
      if (message.finish_reason() != chatbot::v1::FINISH_REASON_UNSPECIFIED) {
        std::cout << " " << chatbot::v1::FinishReason_Name(message.finish_reason());
      }
      std::cout << ", " << Characters(message.content()) << " characters\n";
    }
  }

 private:
  // Sets metadata and deadline of one call.
  void Prepare(grpc::ClientContext* call) const {
    call->set_deadline(std::chrono::system_clock::now() + kDeadline);
    if (!api_key_.empty()) call->AddMetadata("authorization", "Bearer " + api_key_);
  }

  // Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again.
  grpc::Status Show(const ChatRequest& said, ChatMessage* reply) {
    grpc::ClientContext call;
    Prepare(&call);
    const auto events = stub_->Chat(&call, said);
    ChatResponse event;
    std::string replayed;
    while (events->Read(&event)) {
      if (event.has_started()) {
        replayed = event.started().replayed() ? ", replayed" : "";
      } else if (event.has_delta()) {
        std::cout << event.delta().text() << std::flush;
      } else if (event.has_finished()) {
        *reply = event.finished().message();
        std::cout << "\n[" << chatbot::v1::FinishReason_Name(reply->finish_reason()) << ", "
                  << reply->usage().completion_tokens() << " tokens" << replayed << "]" << std::endl;
      }
    }
    return events->Finish();
  }

  static std::int64_t Characters(const std::string& utf8) {
    std::int64_t count = 0;
    for (const unsigned char byte : utf8) count += (byte & 0xC0) != 0x80;
    return count;
  }

  std::unique_ptr<ChatService::Stub> stub_;
  std::string api_key_;
};

void Run() {
  Client client(Environment("CHATBOT_ADDRESS", "127.0.0.1:50051"), Environment("CHATBOT_API_KEY", ""));

  // No conversation is named, so a new one is begun; its name is part of every message's name.
  const ChatRequest question = Request("", "What is the capital of France?");
  const std::string name = client.Say(question).name();
  const std::string conversation = name.substr(0, name.find("/messages/"));
  // The same request_id again: nothing is generated, nothing is stored twice.
  client.Say(question);

  const ChatRequest story = Request(conversation, "Tell me a long story about the sea.");
  client.SayAndStop(story);
  // What the model had said is kept, and its request_id replays it.
  client.Say(story);

  client.ShowRefusal(Request(conversation, " "));
  client.ShowRefusal(Request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"));

  client.ShowHistory(conversation);
}

}  // namespace

int main() {
  try {
    Run();
  } catch (const CallFailed& failed) {
    std::cerr << failed.what() << std::endl;
    return 1;
  }
  return 0;
}
