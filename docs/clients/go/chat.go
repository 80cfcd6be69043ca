// Chats, streams, repeats a lost call, cancels and reads errors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	chatbotv1 "chatbot.example/gen/chatbotv1"
)

const (
	callTimeout = 60 * time.Second
	maxTries    = 5
)

// failure is what a failed call tells: its status, and the details that its trailing metadata carries.
type failure struct {
	code       codes.Code
	message    string
	reason     string
	violations []*errdetails.BadRequest_FieldViolation
	retry      *time.Duration
}

func failureOf(err error) failure {
	told := status.Convert(err)
	f := failure{code: told.Code(), message: told.Message()}
	for _, detail := range told.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			f.reason = d.GetReason()
		case *errdetails.BadRequest:
			f.violations = d.GetFieldViolations()
		case *errdetails.RetryInfo:
			delay := d.GetRetryDelay().AsDuration()
			f.retry = &delay
		}
	}
	return f
}

// wait tells after how long the same call is worth repeating, and whether it is.
func (f failure) wait() (time.Duration, bool) {
	if f.retry != nil {
		return *f.retry, true
	}
	return time.Second, f.code == codes.Unavailable
}

// statusNames are the names of the gRPC specification; Go's own are written in another way.
var statusNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
	codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

func (f failure) show() {
	if f.reason == "" {
		// Words that are not the backend's own may be anything: a proxy's page, a library's internals.
		fmt.Println("!", statusNames[f.code])
	} else {
		fmt.Printf("! %s %s: %s\n", statusNames[f.code], f.reason, f.message)
	}
	for _, violation := range f.violations {
		fmt.Printf("!   %s: %s\n", violation.GetField(), violation.GetDescription())
	}
	if f.retry != nil {
		fmt.Printf("!   worth repeating in %g s\n", f.retry.Seconds())
	}
}

type client struct {
	stub   chatbotv1.ChatServiceClient
	apiKey string
}

// newCall returns the context of one call, with its metadata and its deadline.
func (c client) newCall() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if c.apiKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.apiKey)
	}
	return context.WithTimeout(ctx, callTimeout)
}

func request(conversation, text string) *chatbotv1.ChatRequest {
	return &chatbotv1.ChatRequest{
		Conversation: conversation,
		Text:         text,
		RequestId:    uuid.New().String(),
		Sampling:     &chatbotv1.SamplingConfig{Temperature: proto.Float32(0), MaxTokens: proto.Int32(1000)},
	}
}

// say streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
// request_id: what had arrived is carried out once, and the stored outcome is replayed.
func (c client) say(said *chatbotv1.ChatRequest) (*chatbotv1.ChatMessage, error) {
	for try := 1; ; try++ {
		fmt.Println(">", said.Text)
		reply, err := c.sayOnce(said)
		if err == nil {
			return reply, nil
		}
		f := failureOf(err)
		f.show()
		wait, worth := f.wait()
		if !worth || try == maxTries {
			return nil, err
		}
		time.Sleep(wait)
	}
}

// sayOnce prints a reply as it comes. It reads to the end of the stream: only then is the conversation free again.
func (c client) sayOnce(said *chatbotv1.ChatRequest) (*chatbotv1.ChatMessage, error) {
	ctx, cancel := c.newCall()
	defer cancel()
	events, err := c.stub.Chat(ctx, said)
	if err != nil {
		return nil, err
	}
	var reply *chatbotv1.ChatMessage
	replayed := ""
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) && reply != nil {
			return reply, nil
		}
		if err != nil {
			return nil, err
		}
		switch e := event.GetEvent().(type) {
		case *chatbotv1.ChatResponse_Started:
			if e.Started.GetReplayed() {
				replayed = ", replayed"
			}
		case *chatbotv1.ChatResponse_Delta:
			fmt.Print(e.Delta.GetText())
		case *chatbotv1.ChatResponse_Finished:
			reply = e.Finished.GetMessage()
			fmt.Printf("\n[%s, %d tokens%s]\n", reply.GetFinishReason(), reply.GetUsage().GetCompletionTokens(), replayed)
		}
	}
}

// sayAndStop cancels the call after a few pieces of the reply. While it runs, its conversation is busy.
func (c client) sayAndStop(said *chatbotv1.ChatRequest) {
	fmt.Println(">", said.Text)
	ctx, cancel := c.newCall()
	defer cancel()
	events, err := c.stub.Chat(ctx, said)
	for pieces := 0; err == nil; {
		var event *chatbotv1.ChatResponse
		// A piece may have been on its way already when the call was cancelled.
		if event, err = events.Recv(); err != nil || event.GetDelta() == nil || pieces == 5 {
			continue
		}
		pieces++
		fmt.Print(event.GetDelta().GetText())
		if pieces == 3 {
			fmt.Println()
			c.showRefusal(request(said.Conversation, "Are you there?"))
		}
		if pieces == 5 {
			fmt.Println()
			cancel()
		}
	}
	if !errors.Is(err, io.EOF) {
		failureOf(err).show()
	}
}

func (c client) showRefusal(said *chatbotv1.ChatRequest) {
	ctx, cancel := c.newCall()
	defer cancel()
	events, err := c.stub.Chat(ctx, said)
	for err == nil {
		_, err = events.Recv()
	}
	if !errors.Is(err, io.EOF) {
		failureOf(err).show()
	}
}

func (c client) showHistory(conversation string) error {
	ctx, cancel := c.newCall()
	defer cancel()
	page, err := c.stub.ListMessages(ctx, &chatbotv1.ChatServiceListMessagesRequest{Conversation: conversation})
	if err != nil {
		return err
	}
	fmt.Println(conversation + ":")
	for _, message := range page.GetMessages() {
		how := ""
		if message.GetFinishReason() != chatbotv1.FinishReason_FINISH_REASON_UNSPECIFIED {
			how = " " + message.GetFinishReason().String()
		}
		fmt.Printf("- %s%s, %d characters\n", message.GetRole(), how, utf8.RuneCountInString(message.GetContent()))
	}
	return nil
}

func run() error {
	address := os.Getenv("CHATBOT_ADDRESS")
	if address == "" {
		address = "127.0.0.1:50051"
	}
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	c := client{chatbotv1.NewChatServiceClient(connection), os.Getenv("CHATBOT_API_KEY")}

	// No conversation is named, so a new one is begun; its name is part of every message's name.
	question := request("", "What is the capital of France?")
	reply, err := c.say(question)
	if err != nil {
		return err
	}
	conversation := strings.Split(reply.GetName(), "/messages/")[0]
	// The same request_id again: nothing is generated, nothing is stored twice.
	if _, err := c.say(question); err != nil {
		return err
	}

	story := request(conversation, "Tell me a long story about the sea.")
	c.sayAndStop(story)
	// What the model had said is kept, and its request_id replays it.
	if _, err := c.say(story); err != nil {
		return err
	}

	c.showRefusal(request(conversation, " "))
	c.showRefusal(request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"))

	return c.showHistory(conversation)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "The call failed: %s.\n", statusNames[status.Code(err)])
		os.Exit(1)
	}
}
