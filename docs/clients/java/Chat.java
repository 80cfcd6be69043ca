import chatbot.v1.ChatMessageOuterClass.ChatMessage;
import chatbot.v1.ChatMessageOuterClass.FinishReason;
import chatbot.v1.ChatServiceGrpc;
import chatbot.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import chatbot.v1.ChatServiceOuterClass.ChatRequest;
import chatbot.v1.ChatServiceOuterClass.ChatResponse;
import chatbot.v1.ChatServiceOuterClass.ChatServiceListMessagesRequest;
import chatbot.v1.InferenceServiceOuterClass.SamplingConfig;
import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.List;
import java.util.OptionalDouble;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** Chats, streams, repeats a lost call, cancels and reads errors. */
public final class Chat {
  private static final int DEADLINE_SECONDS = 60;
  private static final int MAX_TRIES = 5;
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private final ChatServiceBlockingStub stub;

  private Chat(ChatServiceBlockingStub stub) {
    this.stub = stub;
  }

  /** What a failed call tells: its status, and the details that its trailing metadata carries. */
  private record Failure(
      Status status, String reason, List<BadRequest.FieldViolation> violations, OptionalDouble retrySeconds) {

    static Failure of(StatusRuntimeException error) {
      String reason = "";
      List<BadRequest.FieldViolation> violations = List.of();
      OptionalDouble retrySeconds = OptionalDouble.empty();
      try {
        com.google.rpc.Status packed = StatusProto.fromThrowable(error);
        for (Any detail : packed == null ? List.<Any>of() : packed.getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            reason = detail.unpack(ErrorInfo.class).getReason();
          } else if (detail.is(BadRequest.class)) {
            violations = detail.unpack(BadRequest.class).getFieldViolationsList();
          } else if (detail.is(RetryInfo.class)) {
            Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
            retrySeconds = OptionalDouble.of(delay.getSeconds() + delay.getNanos() / 1e9);
          }
        }
      } catch (InvalidProtocolBufferException unreadable) {
        // The call's status remains.
      }
      return new Failure(error.getStatus(), reason, violations, retrySeconds);
    }

    /** After how many seconds the same call is worth repeating; empty: it is not. */
    OptionalDouble secondsToWait() {
      boolean lost = retrySeconds.isEmpty() && status.getCode() == Status.Code.UNAVAILABLE;
      return lost ? OptionalDouble.of(1) : retrySeconds;
    }

    void show() {
      // Words that are not the backend's own may be anything: a proxy's page, a library's internals.
      OUT.println("! " + status.getCode() + (reason.isEmpty() ? "" : " " + reason + ": " + status.getDescription()));
      for (BadRequest.FieldViolation violation : violations) {
        OUT.println("!   " + violation.getField() + ": " + violation.getDescription());
      }
      retrySeconds.ifPresent(seconds -> OUT.println("!   worth repeating in " + number(seconds) + " s"));
    }

    private static String number(double value) {
      return value == Math.rint(value) ? Long.toString((long) value) : Double.toString(value);
    }
  }

  private static ChatRequest request(String conversation, String text) {
    return ChatRequest.newBuilder()
        .setConversation(conversation)
        .setText(text)
        .setRequestId(UUID.randomUUID().toString())
        .setSampling(SamplingConfig.newBuilder().setTemperature(0).setMaxTokens(1000))
        .build();
  }

  /** Returns the stub for one call: a deadline is a point in time. */
  private ChatServiceBlockingStub withDeadline() {
    return stub.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
  }

  /**
   * Streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
   * request_id: what had arrived is carried out once, and the stored outcome is replayed.
   */
  private ChatMessage say(ChatRequest said) throws InterruptedException {
    for (int attempt = 1; ; attempt++) {
      OUT.println("> " + said.getText());
      try {
        return show(withDeadline().chat(said));
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        failure.show();
        OptionalDouble seconds = failure.secondsToWait();
        if (seconds.isEmpty() || attempt == MAX_TRIES) {
          throw error;
        }
        Thread.sleep((long) (seconds.getAsDouble() * 1000));
      }
    }
  }

  /** Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again. */
  private static ChatMessage show(Iterator<ChatResponse> events) {
    String replayed = "";
    ChatMessage reply = null;
    while (events.hasNext()) {
      ChatResponse event = events.next();
      switch (event.getEventCase()) {
        case STARTED -> replayed = event.getStarted().getReplayed() ? ", replayed" : "";
        case DELTA -> OUT.print(event.getDelta().getText());
        case FINISHED -> {
          reply = event.getFinished().getMessage();
          OUT.printf(
              "%n[%s, %d tokens%s]%n", reply.getFinishReason(), reply.getUsage().getCompletionTokens(), replayed);
        }
        default -> { }
      }
    }
    if (reply == null) {
      throw new IllegalStateException("The stream ended before the reply did.");
    }
    return reply;
  }

  /** Cancels the call after a few pieces of the reply. While it runs, its conversation is busy. */
  private void sayAndStop(ChatRequest said) {
    OUT.println("> " + said.getText());
    Context.CancellableContext call = Context.current().withCancellation();
    Context before = call.attach();
    Iterator<ChatResponse> events;
    try {
      events = withDeadline().chat(said);
    } finally {
      call.detach(before);
    }
    int pieces = 0;
    try {
      while (events.hasNext()) {
        ChatResponse event = events.next();
        // A piece may have been on its way already when the call was cancelled.
        if (!event.hasDelta() || pieces == 5) {
          continue;
        }
        pieces++;
        OUT.print(event.getDelta().getText());
        if (pieces == 3) {
          OUT.println();
          showRefusal(request(said.getConversation(), "Are you there?"));
        }
        if (pieces == 5) {
          OUT.println();
          call.cancel(null);
        }
      }
    } catch (StatusRuntimeException error) {
      Failure.of(error).show();
    } finally {
      call.cancel(null);
    }
  }

  private void showRefusal(ChatRequest said) {
    try {
      withDeadline().chat(said).forEachRemaining(event -> { });
    } catch (StatusRuntimeException error) {
      Failure.of(error).show();
    }
  }

  private void showHistory(String conversation) {
    OUT.println(conversation + ":");
    ChatServiceListMessagesRequest page =
        ChatServiceListMessagesRequest.newBuilder().setConversation(conversation).build();
    for (ChatMessage message : withDeadline().listMessages(page).getMessagesList()) {
      FinishReason reason = message.getFinishReason();
      String how = reason == FinishReason.FINISH_REASON_UNSPECIFIED ? "" : " " + reason;
      int length = message.getContent().codePointCount(0, message.getContent().length());
      OUT.println("- " + message.getRole() + how + ", " + length + " characters");
    }
  }

  private void run() throws InterruptedException {
    // No conversation is named, so a new one is begun; its name is part of every message's name.
    ChatRequest question = request("", "What is the capital of France?");
    String conversation = say(question).getName().split("/messages/")[0];
    // The same request_id again: nothing is generated, nothing is stored twice.
    say(question);

    ChatRequest story = request(conversation, "Tell me a long story about the sea.");
    sayAndStop(story);
    // What the model had said is kept, and its request_id replays it.
    say(story);

    showRefusal(request(conversation, " "));
    showRefusal(request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"));

    showHistory(conversation);
  }

  private static Metadata metadata() {
    Metadata metadata = new Metadata();
    String apiKey = System.getenv().getOrDefault("CHATBOT_API_KEY", "");
    if (!apiKey.isEmpty()) {
      metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + apiKey);
    }
    return metadata;
  }

  /** Runs the program. */
  public static void main(String[] arguments) throws InterruptedException {
    String address = System.getenv().getOrDefault("CHATBOT_ADDRESS", "127.0.0.1:50051");
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      ChatServiceBlockingStub stub = ChatServiceGrpc.newBlockingStub(channel);
      new Chat(stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata()))).run();
    } catch (StatusRuntimeException error) {
      System.err.println("The call failed: " + error.getStatus().getCode() + ".");
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
