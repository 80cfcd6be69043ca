// Chats, streams, repeats a lost call, cancels and reads errors.
using System.Globalization;
using Chatbot.V1;
using Google.Rpc;
using Grpc.Core;
using Grpc.Net.Client;
using RpcStatus = Google.Rpc.Status;

const int MaxTries = 5;

string address = Environment.GetEnvironmentVariable("CHATBOT_ADDRESS") ?? "127.0.0.1:50051";
string apiKey = Environment.GetEnvironmentVariable("CHATBOT_API_KEY") ?? "";

using GrpcChannel channel = GrpcChannel.ForAddress("http://" + address);
ChatService.ChatServiceClient client = new(channel);

try
{
    // No conversation is named, so a new one is begun; its name is part of every message's name.
    ChatRequest question = NewRequest("", "What is the capital of France?");
    string conversation = (await Say(question)).Name.Split("/messages/")[0];
    // The same request_id again: nothing is generated, nothing is stored twice.
    await Say(question);

    ChatRequest story = NewRequest(conversation, "Tell me a long story about the sea.");
    await SayAndStop(story);
    // What the model had said is kept, and its request_id replays it.
    await Say(story);

    await ShowRefusal(NewRequest(conversation, " "));
    await ShowRefusal(NewRequest("conversations/00000000-0000-0000-0000-000000000000", "Hi!"));

    await ShowHistory(conversation);
}
catch (RpcException error)
{
    Console.Error.WriteLine($"The call failed: {Failure.NameOf(error.StatusCode)}.");
    return 1;
}

return 0;

static ChatRequest NewRequest(string conversation, string text) => new()
{
    Conversation = conversation,
    Text = text,
    RequestId = Guid.NewGuid().ToString(),
    Sampling = new SamplingConfig { Temperature = 0, MaxTokens = 1000 },
};

// Metadata and deadline of one call.
CallOptions NewOptions(CancellationToken cancellation = default)
{
    Metadata headers = new();
    if (apiKey != "")
    {
        headers.Add("authorization", "Bearer " + apiKey);
    }

    return new CallOptions(headers, DateTime.UtcNow.AddSeconds(60), cancellation);
}

// Streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
// request_id: what had arrived is carried out once, and the stored outcome is replayed.
async Task<ChatMessage> Say(ChatRequest said)
{
    for (int attempt = 1; ; attempt++)
    {
        Console.WriteLine("> " + said.Text);
        try
        {
            return await Show(said);
        }
        catch (RpcException error)
        {
            Failure failure = Failure.Of(error);
            failure.Show();
            if (failure.SecondsToWait is not double seconds || attempt == MaxTries)
            {
                throw;
            }

            await Task.Delay(TimeSpan.FromSeconds(seconds));
        }
    }
}

// Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again.
async Task<ChatMessage> Show(ChatRequest said)
{
    using AsyncServerStreamingCall<ChatResponse> call = client.Chat(said, NewOptions());
    string replayed = "";
    ChatMessage? reply = null;
    await foreach (ChatResponse response in call.ResponseStream.ReadAllAsync())
    {
        switch (response.EventCase)
        {
            case ChatResponse.EventOneofCase.Started:
                replayed = response.Started.Replayed ? ", replayed" : "";
                break;
            case ChatResponse.EventOneofCase.Delta:
                Console.Write(response.Delta.Text);
                break;
            case ChatResponse.EventOneofCase.Finished:
                reply = response.Finished.Message;
                string reason = Names.Of(reply.FinishReason);
                Console.WriteLine($"\n[{reason}, {reply.Usage.CompletionTokens} tokens{replayed}]");
                break;
        }
    }

    return reply ?? throw new EndOfStreamException("The stream ended before the reply did.");
}

// Cancels the call after a few pieces of the reply. While it runs, its conversation is busy.
async Task SayAndStop(ChatRequest said)
{
    Console.WriteLine("> " + said.Text);
    using CancellationTokenSource stop = new();
    using AsyncServerStreamingCall<ChatResponse> call = client.Chat(said, NewOptions(stop.Token));
    int pieces = 0;
    try
    {
        await foreach (ChatResponse response in call.ResponseStream.ReadAllAsync())
        {
            // A piece may have been on its way already when the call was cancelled.
            if (response.EventCase != ChatResponse.EventOneofCase.Delta || pieces == 5)
            {
                continue;
            }

            pieces++;
            Console.Write(response.Delta.Text);
            if (pieces == 3)
            {
                Console.WriteLine();
                await ShowRefusal(NewRequest(said.Conversation, "Are you there?"));
            }

            if (pieces == 5)
            {
                Console.WriteLine();
                stop.Cancel();
            }
        }
    }
    catch (RpcException error)
    {
        Failure.Of(error).Show();
    }
}

async Task ShowRefusal(ChatRequest said)
{
    try
    {
        using AsyncServerStreamingCall<ChatResponse> call = client.Chat(said, NewOptions());
        await foreach (ChatResponse _ in call.ResponseStream.ReadAllAsync())
        {
        }
    }
    catch (RpcException error)
    {
        Failure.Of(error).Show();
    }
}

async Task ShowHistory(string conversation)
{
    ChatServiceListMessagesRequest request = new() { Conversation = conversation };
    ChatServiceListMessagesResponse page = await client.ListMessagesAsync(request, NewOptions());
    Console.WriteLine(conversation + ":");
    foreach (ChatMessage message in page.Messages)
    {
        string how = message.FinishReason == FinishReason.Unspecified ? "" : " " + Names.Of(message.FinishReason);
        int length = message.Content.EnumerateRunes().Count();
        Console.WriteLine($"- {Names.Of(message.Role)}{how}, {length} characters");
    }
}

/// <summary>What a failed call tells: its status, and the details that its trailing metadata carries.</summary>
sealed record Failure(
    StatusCode Code, string Message, string Reason, IReadOnlyList<BadRequest.Types.FieldViolation> Violations,
    double? RetrySeconds)
{
    /// <summary>After how many seconds the same call is worth repeating; null: it is not.</summary>
    public double? SecondsToWait => RetrySeconds ?? (Code == StatusCode.Unavailable ? 1.0 : null);

    public static Failure Of(RpcException error)
    {
        byte[] packed = error.Trailers.GetValueBytes("grpc-status-details-bin") ?? Array.Empty<byte>();
        string reason = "";
        IReadOnlyList<BadRequest.Types.FieldViolation> violations = Array.Empty<BadRequest.Types.FieldViolation>();
        double? retrySeconds = null;
        foreach (var detail in RpcStatus.Parser.ParseFrom(packed).Details)
        {
            if (detail.TryUnpack(out ErrorInfo info))
            {
                reason = info.Reason;
            }
            else if (detail.TryUnpack(out BadRequest badRequest))
            {
                violations = badRequest.FieldViolations;
            }
            else if (detail.TryUnpack(out RetryInfo retry))
            {
                retrySeconds = retry.RetryDelay.ToTimeSpan().TotalSeconds;
            }
        }

        return new Failure(error.StatusCode, error.Status.Detail, reason, violations, retrySeconds);
    }

    /// <summary>The name of the gRPC specification: NOT_FOUND for NotFound.</summary>
    public static string NameOf(StatusCode code) => Names.InCapitals(code.ToString());

    public void Show()
    {
        // Words that are not the backend's own may be anything: a proxy's page, a library's internals.
        Console.WriteLine($"! {NameOf(Code)}" + (Reason == "" ? "" : $" {Reason}: {Message}"));
        foreach (BadRequest.Types.FieldViolation violation in Violations)
        {
            Console.WriteLine($"!   {violation.Field}: {violation.Description}");
        }

        if (RetrySeconds is double seconds)
        {
            Console.WriteLine($"!   worth repeating in {seconds.ToString(CultureInfo.InvariantCulture)} s");
        }
    }
}

/// <summary>Names as the protos have them; C#'s own are written in another way.</summary>
static class Names
{
    public static string Of(FinishReason reason) => "FINISH_REASON_" + InCapitals(reason.ToString());

    public static string Of(Role role) => "ROLE_" + InCapitals(role.ToString());

    public static string InCapitals(string name) =>
        string.Concat(name.Select((letter, i) => (i > 0 && char.IsUpper(letter) ? "_" : "") + char.ToUpperInvariant(letter)));
}
