// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/calls.h"

#include "core/utf8.h"
#include "server/grpc/byte_buffers.h"
#include "server/grpc/wire_reader.h"
#include "server/grpc/wire_writer.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <grpcpp/server_context.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::server::rpc {
namespace {

constexpr std::string_view kModelInfer = "/inference.GRPCInferenceService/ModelInfer";
constexpr std::string_view kModelStreamInfer = "/inference.GRPCInferenceService/ModelStreamInfer";
constexpr int kSlowMax = 64;  // waiting for their threads
// Clients take 8 KiB of metadata by default, in which a message may take three bytes for each of its own.
constexpr std::size_t kMessageBytesMax = 2000;

using Context = ::grpc::GenericServerContext;

::grpc::Status to_status(ApiError error) {
  error.message.resize(std::min(error.message.size(), kMessageBytesMax));
  return {static_cast<::grpc::StatusCode>(grpc_status(error.code)),
          to_utf8(std::move(error.message))};
}

std::string_view authorization_of(const Context& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

// A call that a client may make: it waits for one, and then holds what gRPC knows of it.
class Place final : public Event {
 public:
  explicit Place(Shared& shared) : shared_(shared) {
    context_.AsyncNotifyWhenDone(&done_);
    shared_.calls_service.RequestCall(&context_, &stream_, shared_.poller->queue(),
                                      shared_.poller->queue(), this);
  }

  void happened(bool ok) override;  // a call has come, or none will

  Context& context() noexcept { return context_; }
  ::grpc::GenericServerAsyncReaderWriter& stream() noexcept { return stream_; }
  void on_done(Event& call) noexcept { done_.call = &call; }

 private:
  struct Done final : Event {
    void happened(bool ok) override { call->happened(ok); }
    Event* call = nullptr;
  };

  Shared& shared_;
  Context context_;
  ::grpc::GenericServerAsyncReaderWriter stream_{&context_};
  Done done_;
};

// One call, from the moment that it came. Everything but the answers of slow methods happens on the
// poller's thread. It goes when it has been finished, gRPC has said that it is
// over, and nothing that it has started is under way.
class Call {
 public:
  Call(Shared& shared, std::unique_ptr<Place> place)
      : shared_(shared), place_(std::move(place)), context_(place_->context()) {
    ++shared_.calls;
    place_->on_done(over_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual ~Call() { --shared_.calls; }

 protected:
  virtual void OnReadDone(bool /*ok*/) {}
  virtual void OnWriteDone(bool /*ok*/) {}
  virtual void OnCancel() {}

  void StartRead(::grpc::ByteBuffer* message) {
    ++under_way_;
    place_->stream().Read(message, &read_);
  }
  void StartWrite(const ::grpc::ByteBuffer* message) {
    ++under_way_;
    place_->stream().Write(*message, &written_);
  }
  void StartWriteAndFinish(const ::grpc::ByteBuffer* message) {
    place_->stream().WriteAndFinish(*message, {}, ::grpc::Status::OK, &finished_);
  }
  void Finish(const ::grpc::Status& status) { place_->stream().Finish(status, &finished_); }

  // The message that was read. A client that compresses its messages gets its answers compressed too.
  ApiResult<ReceivedMessage> open_message() {
    ApiResult<ReceivedMessage> message =
        ReceivedMessage::open(buffer_, shared_.options.message_bytes_max);
    const bool first = !std::exchange(opened_, true);
    if (message && first && message->compression() != GRPC_COMPRESS_NONE) {
      context_.set_compression_algorithm(message->compression());
    }
    return message;
  }

  ApiResult<InferCall> read_call(const ReceivedMessage& message) {
    ApiResult<InferCall> call = read_infer_request(
        message.pieces(), [this](std::size_t bytes) { return shared_.service.room(bytes); });
    if (call) call->deadline = deadline();
    return call;
  }

  // The client's grpc-timeout; gRPC gives it on a clock that may jump.
  [[nodiscard]] TimePoint deadline() const {
    using WallClock = std::chrono::system_clock;
    const WallClock::time_point due = context_.deadline();
    if (due == WallClock::time_point::max()) return kNever;
    constexpr auto kLongest = std::chrono::days(365);  // and further is never
    const auto left = due - WallClock::now();
    if (left > kLongest) return kNever;
    return shared_.clock.now() + std::chrono::duration_cast<Duration>(left);
  }

  Shared& shared_;

 private:
  const std::unique_ptr<Place> place_;

 protected:
  Context& context_;
  ::grpc::ByteBuffer buffer_;  // what is being read

 private:
  // An operation of the call that has ended.
  class Ended final : public Event {
   public:
    using Handler = void (Call::*)(bool ok);
    Ended(Call& call, Handler handler) : call_(call), handler_(handler) {}
    void happened(bool ok) override {
      (call_.*handler_)(ok);
      if (--call_.under_way_ == 0) delete &call_;
    }

   private:
    Call& call_;
    const Handler handler_;
  };

  void on_over(bool /*ok*/) {
    if (context_.IsCancelled()) OnCancel();
  }
  void on_finished(bool /*ok*/) {}

  Ended read_{*this, &Call::OnReadDone};
  Ended written_{*this, &Call::OnWriteDone};
  Ended finished_{*this, &Call::on_finished};
  Ended over_{*this, &Call::on_over};
  int under_way_ = 2;  // finished_ and over_, which come once each
  bool opened_ = false;
};

// Ends at once.
class RefusedCall final : public Call {
 public:
  RefusedCall(Shared& shared, std::unique_ptr<Place> place, ApiError error)
      : Call(shared, std::move(place)) {
    Finish(to_status(std::move(error)));
  }
};

// One message, one response.
class UnaryCall : public Call, private AwaitedCall {
 public:
  UnaryCall(Shared& shared, std::unique_ptr<Place> place) : Call(shared, std::move(place)) {
    until = shared_.clock.now() + shared_.options.message_timeout;
    place_in_list_ = shared_.awaited.insert(shared_.awaited.end(), this);
  }

  void OnReadDone(bool ok) final {
    shared_.awaited.erase(place_in_list_);
    if (!ok) return end(ApiError{ApiCode::invalid_argument, "the call has no request message"});
    try {
      ApiResult<ReceivedMessage> message = open_message();
      if (!message) return end(std::move(message).error());
      take(*message);
    } catch (const std::exception& /*may name files*/) {
      end(ApiError{ApiCode::internal, "the call failed inside the server"});
    }
  }

  void give_up() override { context_.TryCancel(); }

 protected:
  virtual void take(const ReceivedMessage& message) = 0;

  void end(ApiError error) { Finish(to_status(std::move(error))); }
  void end(::grpc::ByteBuffer response) {
    response_.Swap(&response);
    StartWriteAndFinish(&response_);
  }

 private:
  std::list<AwaitedCall*>::iterator place_in_list_;
  ::grpc::ByteBuffer response_;
};

class MethodCall final : public UnaryCall {
 public:
  MethodCall(Shared& shared, std::unique_ptr<Place> place, const Method& method)
      : UnaryCall(shared, std::move(place)), method_(method) {
    StartRead(&buffer_);
  }

 private:
  void take(const ReceivedMessage& message) override {
    std::string bytes = message.joined();
    if (!method_.slow) return answer(bytes);
    if (++shared_.slow_waiting > kSlowMax) {
      --shared_.slow_waiting;
      return end(
          ApiError{ApiCode::resource_exhausted,
                   fmt::format("{} calls of this kind are waiting; try again later", kSlowMax)});
    }
    boost::asio::post(shared_.slow, [this, bytes = std::move(bytes)] {
      --shared_.slow_waiting;
      if (context_.IsCancelled()) {
        return end(ApiError{ApiCode::cancelled, "cancelled before it began"});
      }
      answer(bytes);
    });
  }

  void answer(std::string_view message) {
    ApiResult<std::string> response = response_to(message);
    if (!response) return end(std::move(response).error());
    end(to_buffer(*response));
  }

  ApiResult<std::string> response_to(std::string_view message) noexcept try {
    return method_.answer(shared_.services, message);
  } catch (const std::exception& /*may name files*/) {
    return refuse(ApiCode::internal, "the call failed inside the server");
  }

  const Method& method_;
};

class InferOnce final : public UnaryCall {
 public:
  InferOnce(Shared& shared, std::unique_ptr<Place> place) : UnaryCall(shared, std::move(place)) {
    StartRead(&buffer_);
  }

  void OnCancel() override {
    cancelled_ = true;
    ticket_.cancel();
  }

 private:
  void take(const ReceivedMessage& message) override {
    ApiResult<InferCall> call = read_call(message);
    if (!call) return end(std::move(call).error());
    call->more_come = true;
    shared_.poller->want_pause();
    keep(shared_.service.submit(std::move(*call), [this](ApiResult<InferAnswer> answer) {
      shared_.poller->post(
          [this, answer = std::move(answer)]() mutable { finish(std::move(answer)); });
    }));
  }

  void keep(InferTicket ticket) {
    ticket_ = ticket;
    if (cancelled_) ticket_.cancel();
  }

  void finish(ApiResult<InferAnswer> answer) {
    if (!answer) return end(std::move(answer).error());
    const auto shared = std::make_shared<const InferAnswer>(std::move(*answer));
    end(to_buffer(write_infer_response(*shared), shared));
  }

  InferTicket ticket_;
  bool cancelled_ = false;
};

// Requests and their answers in the same order. While too many are unanswered, nothing is read.
class InferStream final : public Call {
 public:
  InferStream(Shared& shared, std::unique_ptr<Place> place) : Call(shared, std::move(place)) {
    reading_ = true;
    StartRead(&buffer_);
  }

  void OnReadDone(bool ok) override {
    if (ok) take_message();
    reading_ = false;
    ended_ = ended_ || !ok || broken_;
    const bool read = wants_to_read();
    advance();
    if (read) StartRead(&buffer_);
  }

  void OnWriteDone(bool ok) override {
    writing_ = false;
    pop();
    if (!ok) withdraw();
    const bool read = wants_to_read();
    advance();
    if (read) StartRead(&buffer_);
  }

  void OnCancel() override {
    withdraw();
    advance();
  }

 private:
  struct Answer {
    InferTicket ticket;
    bool ready = false;
    ::grpc::ByteBuffer bytes;
  };

  void take_message() {
    const std::uint64_t number = add_answer();
    const ApiResult<ReceivedMessage> message = open_message();
    if (!message) return settle(number, to_buffer(write_stream_error("", message.error().message)));
    std::string id = read_request_id(message->pieces());
    ApiResult<InferCall> call = read_call(*message);
    if (!call) return settle(number, to_buffer(write_stream_error(id, call.error().message)));
    call->more_come = true;
    shared_.poller->want_pause();
    keep(number, shared_.service.submit(
                     std::move(*call), [this, number, id](ApiResult<InferAnswer> answer) mutable {
                       shared_.poller->post([this, number, id = std::move(id),
                                             answer = std::move(answer)]() mutable {
                         finish(number, id, std::move(answer));
                       });
                     }));
  }

  std::uint64_t add_answer() {
    answers_.emplace_back();
    return first_ + answers_.size() - 1;
  }

  void keep(std::uint64_t number, InferTicket ticket) {
    answers_[number - first_].ticket = ticket;
    if (broken_) ticket.cancel();
  }

  void finish(std::uint64_t number, std::string_view id, ApiResult<InferAnswer> answer) {
    if (!answer) return settle(number, to_buffer(write_stream_error(id, answer.error().message)));
    const auto shared = std::make_shared<const InferAnswer>(std::move(*answer));
    const std::vector<WirePiece> pieces = write_stream_response(*shared);
    // One that must wait for others would keep the engine's slot for as long.
    settle(number, is_next(number) ? to_buffer(pieces, shared) : to_buffer(pieces));
  }

  bool is_next(std::uint64_t number) { return number == first_ && !writing_; }

  void settle(std::uint64_t number, ::grpc::ByteBuffer bytes) {
    Answer& answer = answers_[number - first_];
    answer.ready = true;
    answer.bytes.Swap(&bytes);
    advance();
  }

  // True: the caller calls StartRead.
  bool wants_to_read() {
    if (reading_ || ended_ || answers_.size() >= shared_.options.stream_unanswered_max)
      return false;
    reading_ = true;
    return true;
  }

  // The client has gone: nobody needs what is still asked for.
  void withdraw() {
    broken_ = true;
    ended_ = ended_ || !reading_;
    for (Answer& answer : answers_) answer.ticket.cancel();
  }

  void pop() {
    answers_.pop_front();
    ++first_;
  }

  // Writes the next answer where there is one, or ends the call after the last.
  void advance() {
    if (writing_ || finished_) return;
    while (broken_ && !answers_.empty() && answers_.front().ready) pop();
    if (!answers_.empty()) {
      if (!answers_.front().ready) return;
      writing_ = true;
      StartWrite(&answers_.front().bytes);
    } else if (ended_) {
      finished_ = true;
      Finish(broken_ ? ::grpc::Status::CANCELLED : ::grpc::Status::OK);
    }
  }

  std::deque<Answer> answers_;  // in the order of the requests; the first may be being written
  std::uint64_t first_ = 0;     // the number of the first of them
  bool reading_ = false;
  bool writing_ = false;
  bool ended_ = false;   // nothing more comes
  bool broken_ = false;  // nothing more can be sent
  bool finished_ = false;
};

ApiResult<void> check(const Shared& shared, const Context& context) {
  std::string_view path = context.method();
  if (path != kModelInfer && path != kModelStreamInfer && find_method(path) == nullptr) {
    return refuse(ApiCode::unimplemented, fmt::format("no method '{}'", path));
  }
  if (shared.options.access) {
    path.remove_prefix(1);
    if (auto allowed = shared.options.access(path, authorization_of(context)); !allowed) {
      return allowed;
    }
  }
  if (shared.calls < shared.options.calls_max) return {};
  return refuse(ApiCode::resource_exhausted,
                fmt::format("{} calls are under way, the most that this server allows; try again "
                            "later",
                            shared.options.calls_max));
}

void take_call(Shared& shared, std::unique_ptr<Place> place) {
  const Context& context = place->context();
  if (auto checked = check(shared, context); !checked) {
    new RefusedCall(shared, std::move(place), std::move(checked).error());
  } else if (context.method() == kModelInfer) {
    new InferOnce(shared, std::move(place));
  } else if (context.method() == kModelStreamInfer) {
    new InferStream(shared, std::move(place));
  } else {
    const Method& method = *find_method(context.method());
    new MethodCall(shared, std::move(place), method);
  }
}

void Place::happened(bool ok) {
  std::unique_ptr<Place> self(this);
  if (!ok) return;  // the server is shutting down
  open_place(shared_);
  take_call(shared_, std::move(self));
}

}  // namespace

void sweep(Shared& shared) {
  const TimePoint now = shared.clock.now();
  for (AwaitedCall* const call : shared.awaited) {
    if (now < call->until) return;  // those behind it came later
    call->give_up();                // it leaves the list when its read has ended
  }
}

void open_place(Shared& shared) {
  if (shared.closed) return;
  new Place(shared);  // its call's, or its own until one has come
}

}  // namespace takt::server::rpc
