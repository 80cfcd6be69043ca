# frozen_string_literal: true

# Chats, streams, repeats a lost call, cancels and reads errors.

require "securerandom"

require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"
require "grpc"

$LOAD_PATH.unshift(File.join(__dir__, "gen"))
require "chatbot/v1/chat_service_services_pb"

include Chatbot::V1 # rubocop:disable Style/MixinUsage

ADDRESS = ENV.fetch("CHATBOT_ADDRESS", "127.0.0.1:50051")
API_KEY = ENV.fetch("CHATBOT_API_KEY", "")
METADATA = API_KEY.empty? ? {} : { "authorization" => "Bearer #{API_KEY}" }
DEADLINE_SECONDS = 60
MAX_TRIES = 5

# What a failed call tells: its status, and the details that its trailing metadata carries.
class Failure
  STATUS_NAMES = GRPC::Core::StatusCodes.constants.to_h { |name| [GRPC::Core::StatusCodes.const_get(name), name.to_s] }

  def initialize(error)
    @code = STATUS_NAMES.fetch(error.code)
    @message = error.details
    @violations = []
    packed = error.metadata["grpc-status-details-bin"] || ""
    Google::Rpc::Status.decode(packed).details.each { |detail| read(detail) }
  end

  # After how many seconds the same call is worth repeating; nil: it is not.
  def seconds_to_wait
    @retry_seconds || (1 if @code == "UNAVAILABLE")
  end

  def show
    # Words that are not the backend's own may be anything: a proxy's page, a library's internals.
    puts(@reason ? "! #{@code} #{@reason}: #{@message}" : "! #{@code}")
    @violations.each { |violation| puts "!   #{violation.field}: #{violation.description}" }
    puts format("!   worth repeating in %<seconds>g s", seconds: @retry_seconds) if @retry_seconds
  end

  private

  def read(detail)
    if detail.is(Google::Rpc::ErrorInfo)
      @reason = detail.unpack(Google::Rpc::ErrorInfo).reason
    elsif detail.is(Google::Rpc::BadRequest)
      @violations = detail.unpack(Google::Rpc::BadRequest).field_violations
    elsif detail.is(Google::Rpc::RetryInfo)
      delay = detail.unpack(Google::Rpc::RetryInfo).retry_delay
      @retry_seconds = delay.seconds + (delay.nanos / 1e9)
    end
  end
end

# A client that chats and prints.
class Chat
  def initialize(stub)
    @stub = stub
  end

  def request(conversation, text)
    ChatRequest.new(conversation: conversation, text: text, request_id: SecureRandom.uuid,
                    sampling: SamplingConfig.new(temperature: 0, max_tokens: 1000))
  end

  # Streams the reply to standard output and returns it as stored. A call that was lost is repeated with the same
  # `request_id`: what had arrived is carried out once, and the stored outcome is replayed.
  def say(said, tries_left: MAX_TRIES)
    puts "> #{said.text}"
    show(@stub.chat(said, **options))
  rescue GRPC::BadStatus => e
    failure = Failure.new(e)
    failure.show
    seconds = failure.seconds_to_wait
    raise if seconds.nil? || tries_left == 1

    sleep seconds
    say(said, tries_left: tries_left - 1)
  end

  # Cancels the call after a few pieces of the reply. While it runs, its conversation is busy.
  def say_and_stop(said)
    puts "> #{said.text}"
    call = @stub.chat(said, **options, return_op: true)
    pieces = 0
    call.execute.each do |event|
      # A piece may have been on its way already when the call was cancelled.
      next unless event.event == :delta && pieces < 5

      pieces += 1
      print event.delta.text
      if pieces == 3
        puts
        show_refusal(request(said.conversation, "Are you there?"))
      end
      if pieces == 5
        puts
        call.cancel
      end
    end
  rescue GRPC::BadStatus => e
    Failure.new(e).show
  end

  def show_refusal(said)
    @stub.chat(said, **options).each { |_| nil }
  rescue GRPC::BadStatus => e
    Failure.new(e).show
  end

  def show_history(conversation)
    puts "#{conversation}:"
    page = @stub.list_messages(ChatServiceListMessagesRequest.new(conversation: conversation), **options)
    page.messages.each do |message|
      how = message.finish_reason == :FINISH_REASON_UNSPECIFIED ? "" : " #{message.finish_reason}"
      puts "- #{message.role}#{how}, #{message.content.length} characters"
    end
  end

  private

  # Metadata and deadline of one call.
  def options
    { metadata: METADATA, deadline: Time.now + DEADLINE_SECONDS }
  end

  # Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again.
  def show(events)
    replayed = ""
    reply = nil
    events.each do |event|
      case event.event
      when :started then replayed = event.started.replayed ? ", replayed" : ""
      when :delta then print event.delta.text
      when :finished
        reply = event.finished.message
        puts "\n[#{reply.finish_reason}, #{reply.usage.completion_tokens} tokens#{replayed}]"
      end
    end
    reply || raise(EOFError, "The stream ended before the reply did.")
  end
end

def main
  chat = Chat.new(ChatService::Stub.new(ADDRESS, :this_channel_is_insecure))

  # No conversation is named, so a new one is begun; its name is part of every message's name.
  question = chat.request("", "What is the capital of France?")
  conversation = chat.say(question).name.split("/messages/").first
  # The same request_id again: nothing is generated, nothing is stored twice.
  chat.say(question)

  story = chat.request(conversation, "Tell me a long story about the sea.")
  chat.say_and_stop(story)
  # What the model had said is kept, and its request_id replays it.
  chat.say(story)

  chat.show_refusal(chat.request(conversation, " "))
  chat.show_refusal(chat.request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"))

  chat.show_history(conversation)
rescue GRPC::BadStatus => e
  abort "The call failed: #{Failure::STATUS_NAMES.fetch(e.code)}."
end

$stdout.sync = true
main
