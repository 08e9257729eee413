// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_keeper.h"

#include "engine/worker_start.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <system_error>
#include <utility>

namespace takt::engine {
namespace {

TimePoint now() {
  return SystemClock().now();
}

std::string in_ms(Duration duration) {
  return std::to_string(std::chrono::round<std::chrono::milliseconds>(duration).count()) + " ms";
}

// How often the watchdog looks, as a share of its patience.
constexpr int kLooksPerWatchdog = 8;
// How often a start looks whether it is still wanted.
constexpr auto kStopLook = std::chrono::milliseconds(50);
constexpr auto kReapTimeout = std::chrono::hours(1);  // a killed process ends

// What a person may do about an end that nobody asked for.
std::string explained(const ipc::MemoryCgroup& cgroup, const std::string& ending) {
  std::string by_limit = cgroup.explained(ending);
  if (by_limit != ending) return by_limit;
  const bool killed = ending.find("signal 9 ") != std::string::npos;
  return ending + (killed ? "; if nobody killed it, the kernel did for want of memory: see dmesg"
                          : "; see what it wrote before");
}

// The line "VmHWM: N kB"; 0 when the process is gone.
std::size_t peak_rss_bytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  std::size_t kilobytes = 0;
  while (file >> word) {
    if (word == "VmHWM:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

std::string_view to_string(WorkerState state) noexcept {
  switch (state) {
    case WorkerState::starting:
      return "starting";
    case WorkerState::serving:
      return "serving";
    case WorkerState::waiting:
      return "waiting";
    case WorkerState::circuit_open:
      return "circuit_open";
    case WorkerState::stopped:
      return "stopped";
  }
  return "stopped";
}

WorkerKeeper::WorkerKeeper(const SupervisorOptions& options, WorkerSpec spec)
    : options_(options), spec_(std::move(spec)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  status_.name = spec_.name;
  status_.model = spec_.load.model.model;
  status_.device = spec_.device;
  status_.numa_node = spec_.load.numa_node;
  status_.threads = spec_.load.instances * spec_.load.threads_per_instance;
}

Result<std::unique_ptr<WorkerKeeper>> WorkerKeeper::start(const SupervisorOptions& options,
                                                          WorkerSpec spec) {
  std::unique_ptr<WorkerKeeper> keeper(new WorkerKeeper(options, std::move(spec)));
  if (!keeper->wake_) {
    return fail(ErrorKind::unavailable,
                "no eventfd to be had: " + std::generic_category().message(errno) +
                    "; raise the limit on files (ulimit -n)");
  }
  try {
    keeper->thread_ = std::thread([raw = keeper.get()] { raw->keep(); });
  } catch (const std::system_error& error) {
    return fail(ErrorKind::unavailable, std::string("no thread to be had: ") + error.what() +
                                            "; raise the limit on threads (ulimit -u)");
  }
  std::unique_lock lock(keeper->mutex_);
  keeper->started_.wait(lock, [&keeper] { return keeper->first_.has_value(); });
  const Result<void> first = *keeper->first_;
  lock.unlock();
  if (!first) return std::unexpected(first.error());
  return keeper;
}

WorkerKeeper::~WorkerKeeper() {
  stop();
}

// The thread ------------------------------------------------------------------------------------

void WorkerKeeper::keep() {
  ::pthread_setname_np(::pthread_self(), "takt-keeper");
  bool serving_before = false;
  TimePoint ended_at;
  while (true) {
    Result<Incarnation> incarnation = begin();
    if (!incarnation && !serving_before) {
      const std::scoped_lock lock(mutex_);
      first_ = std::unexpected(incarnation.error());
      status_.state = WorkerState::stopped;
      started_.notify_all();
      return;
    }
    if (incarnation) {
      link_->set(incarnation->link);
      const Duration recovery = now() - ended_at;
      {
        const std::scoped_lock lock(mutex_);
        status_.state = WorkerState::serving;
        if (serving_before) {
          status_.recovery_last = recovery;
          status_.recovery_max = std::max(status_.recovery_max, status_.recovery_last);
        }
      }
      if (serving_before) {
        tell_back();
        tell_recovery(recovery);
      } else {
        const std::scoped_lock lock(mutex_);
        first_ = Result<void>{};
        started_.notify_all();
      }
      serving_before = true;
      const Error cause = watch(*incarnation);
      ended_at = now();
      finish(std::move(*incarnation), cause);
    } else {
      note_failed_start(incarnation.error());
    }
    if (!wait_before_next()) return;
  }
}

// A process that has loaded its model and looks at the shared memory.
Result<WorkerKeeper::Incarnation> WorkerKeeper::begin() {
  {
    const std::scoped_lock lock(mutex_);
    status_.state = WorkerState::starting;
    end_wanted_.reset();
  }
  Result<StartedWorker> worker = start_worker(options_);
  if (!worker) return std::unexpected(std::move(worker).error());
  {
    const std::scoped_lock lock(mutex_);
    status_.pid = worker->process.pid();
  }
  ipc::ControlSocket& control = worker->control;
  const auto explain = [&worker](Error error) {
    // Its end says more than its silence.
    if (error.kind != ErrorKind::unavailable) return error;
    if (const auto ending = worker->process.wait(std::chrono::seconds(1))) {
      error.message = "the worker ended while it started: " + worker->cgroup.explained(*ending);
    }
    return error;
  };
  const bool trusted = !loaded_.profile.empty();
  Result<ipc::ModelLoaded> loaded = load(control, trusted);
  if (!loaded) return std::unexpected(explain(std::move(loaded).error()));
  if (!trusted) {
    if (Result<void> first = serve_first(*loaded); !first) return std::unexpected(first.error());
  }
  LinkOptions link_options{.label = status_.model,
                           .signature = loaded_.signature,
                           .output_bytes_max = loaded_.output_bytes_max,
                           .instances = static_cast<std::uint32_t>(spec_.load.instances),
                           .results_held_max = spec_.results_held_max,
                           .spin = spec_.load.spin,
                           .inbox = spec_.inbox};
  Result<std::shared_ptr<WorkerLink>> link = WorkerLink::create(
      std::move(link_options), spec_.inputs, [this](Error cause) { alarm(std::move(cause)); });
  if (!link) return std::unexpected(std::move(link).error());
  const std::vector<int> descriptors = (*link)->descriptors();
  const Result<ipc::WorkerReply> attached =
      ask(control, ipc::AttachMemory{(*link)->layout()}, descriptors);
  if (!attached) return std::unexpected(explain(attached.error()));
  return Incarnation{std::move(worker->cgroup), std::move(worker->process), std::move(control),
                     std::move(*link)};
}

Result<ipc::WorkerReply> WorkerKeeper::ask(ipc::ControlSocket& control,
                                           const ipc::WorkerRequest& request,
                                           std::span<const int> descriptors) const {
  if (Result<void> sent = control.send(ipc::to_text(request), descriptors); !sent) {
    return std::unexpected(std::move(sent).error());
  }
  const bool first = loaded_.profile.empty();
  const TimePoint end = now() + options_.ready_timeout + (first ? spec_.tuning_max : Duration{});
  while (true) {
    Result<ipc::ControlMessage> message = control.receive(kStopLook);
    {
      const std::scoped_lock lock(mutex_);
      if (stopping_) return fail(ErrorKind::cancelled, "stopped while the worker started");
    }
    const bool silent = !message && message.error().kind == ErrorKind::deadline_exceeded;
    if (!message && !silent) return std::unexpected(std::move(message).error());
    if (message) {
      Result<ipc::WorkerReply> reply = ipc::parse_reply(message->text);
      if (!reply) return reply;
      auto* const error = std::get_if<Error>(&*reply);
      if (error != nullptr) return std::unexpected(std::move(*error));
      const auto* const loading = std::get_if<ipc::ModelLoading>(&*reply);
      if (loading == nullptr) return reply;
      if (first && spec_.loading) spec_.loading(*loading);
    }
    if (now() >= end) {
      return fail(ErrorKind::deadline_exceeded,
                  "the worker was not ready in time; raise workers.ready_timeout");
    }
  }
}

Result<ipc::ModelLoaded> WorkerKeeper::load(ipc::ControlSocket& control, bool trusted) const {
  ipc::LoadModel request = spec_.load;
  request.trusted = trusted;
  Result<ipc::WorkerReply> reply = ask(control, request, spec_.inputs->descriptors());
  if (!reply) return std::unexpected(std::move(reply).error());
  auto* const loaded = std::get_if<ipc::ModelLoaded>(&*reply);
  if (loaded == nullptr) return fail(ErrorKind::internal, "the worker answered something else");
  return std::move(*loaded);
}

Result<void> WorkerKeeper::serve_first(const ipc::ModelLoaded& loaded) {
  loaded_ = loaded;
  {
    const std::scoped_lock lock(mutex_);
    status_.notes = loaded.notes;
  }
  if (!spec_.load.model.version) return fail(ErrorKind::internal, "a worker without a version");
  runtime_.name = spec_.load.model.model;
  runtime_.version = *spec_.load.model.version;
  runtime_.backend = loaded.backend;
  runtime_.backend_version = loaded.backend_version;
  runtime_.device = spec_.device;
  runtime_.signature = loaded.signature;
  runtime_.output_bytes_max = loaded.output_bytes_max;
  runtime_.profile = loaded.profile;
  runtime_.memory = loaded.memory;
  for (int i = 0; i < spec_.load.instances; ++i) {
    runtime_.instances.push_back(
        std::make_unique<RemoteInstance>(link_, static_cast<std::uint32_t>(i)));
  }
  return {};
}

// How long a batch may run, by what is known of the model now.
Duration WorkerKeeper::watchdog() const noexcept {
  if (options_.watchdog > Duration{}) return options_.watchdog;
  const Duration learned = link_->longest();
  const Duration longest = learned > Duration{} ? learned : loaded_.profile.back().p99;
  const double scaled = static_cast<double>(longest.count()) * options_.watchdog_factor;
  constexpr double kDay = 86'400e9;  // far from where the number of nanoseconds ends
  return std::max(options_.watchdog_min,
                  Duration(static_cast<Duration::rep>(std::min(scaled, kDay))));
}

// Returns why the incarnation must end, or has ended.
Error WorkerKeeper::watch(Incarnation& incarnation) {
  while (true) {
    const Duration patience = watchdog();
    const auto look = std::chrono::ceil<std::chrono::milliseconds>(patience / kLooksPerWatchdog);
    std::array<pollfd, 2> watched{
        pollfd{.fd = incarnation.process.descriptor(), .events = POLLIN, .revents = 0},
        pollfd{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    ::poll(watched.data(), watched.size(), static_cast<int>(look.count()));
    std::uint64_t ignored = 0;
    while (::read(wake_.get(), &ignored, sizeof(ignored)) > 0) {
    }
    {
      const std::scoped_lock lock(mutex_);
      status_.watchdog = patience;
      if (end_wanted_) return *end_wanted_;
    }
    if (watched[0].revents != 0) {
      const auto ending = incarnation.process.wait(std::chrono::seconds(1));
      return {ErrorKind::worker_lost,
              "its worker ended: " +
                  explained(incarnation.cgroup, ending.value_or("nobody knows how"))};
    }
    if (std::optional<Error> hang = hangs(incarnation, patience)) {
      const std::scoped_lock lock(mutex_);
      ++status_.hangs;
      return std::move(*hang);
    }
  }
}

std::optional<Error> WorkerKeeper::hangs(const Incarnation& incarnation, Duration watchdog) const {
  const std::optional<TimePoint> since = incarnation.link->longest_running_since();
  if (!since || now() - *since < watchdog) return std::nullopt;
  return Error{ErrorKind::worker_lost, "its worker hung: a batch ran for " + in_ms(watchdog) +
                                           "; raise workers.watchdog if it may take longer"};
}

void WorkerKeeper::finish(Incarnation incarnation, const Error& cause) {
  const bool good = incarnation.link->batches_done() > 0;
  bool stopping = false;
  {
    const std::scoped_lock lock(mutex_);
    stopping = stopping_;
    failures_ = good ? 0 : failures_ + 1;
    status_.state = WorkerState::waiting;
    status_.last_error = cause.message;
  }
  link_->set(nullptr);
  // Told before its batches fail, so that they don't go to where nobody is.
  const bool circuit_open = failures_ >= options_.circuit_failures;
  if (!stopping) tell_lost(cause, circuit_open);
  if (stopping && incarnation.process &&
      incarnation.control.send(ipc::to_text(ipc::StopWorker{}))) {
    static_cast<void>(incarnation.process.wait(options_.stop_timeout));
  }
  incarnation.process.kill();
  static_cast<void>(incarnation.process.wait(kReapTimeout));
  {
    const std::scoped_lock lock(mutex_);
    status_.pid = 0;
  }
  const std::size_t requests = incarnation.link->end(cause);
  if (!stopping) {
    tell(EventKind::worker_lost,
         cause.message + "; requests that it ran: " + std::to_string(requests) +
             (requests > 0 ? ", tried again where there is time" : ""),
         requests);
  }
}

void WorkerKeeper::note_failed_start(const Error& error) {
  ++failures_;
  {
    const std::scoped_lock lock(mutex_);
    status_.pid = 0;
    status_.last_error = error.message;
  }
  if (failures_ == options_.circuit_failures) tell_lost(error, true);
}

void WorkerKeeper::tell_recovery(Duration after) {
  tell(EventKind::worker_back, "serves again after " + in_ms(after), 1, after);
  {
    const std::scoped_lock lock(mutex_);
    if (!std::exchange(circuit_open_, false)) return;
  }
  tell(EventKind::circuit_closed,
       serves_elsewhere() ? "a probe serves: it has a share of the task's requests again"
                          : "a probe serves: its requests are taken again");
}

void WorkerKeeper::open_circuit() {
  std::string cause;
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(circuit_open_, true)) return;
    ++status_.circuits_opened;
    cause = status_.last_error;
  }
  // After the circuit is marked: of two that open at once, the last one knows of the other.
  const std::string effect = serves_elsewhere()
                                 ? "nothing is started there; other devices of the task go on"
                                 : "its requests are refused at once";
  tell(EventKind::circuit_opened, std::to_string(failures_) +
                                      " starts in a row without one good batch: " + effect +
                                      ", and it is tried every " + in_ms(options_.probe_interval) +
                                      "; the last time: " + cause);
}

bool WorkerKeeper::serves_elsewhere() const {
  std::function<bool()> elsewhere;
  {
    const std::scoped_lock lock(mutex_);
    elsewhere = events_.serves_elsewhere;
  }
  return elsewhere && elsewhere();
}

bool WorkerKeeper::wait_before_next() {
  Duration delay{};
  if (failures_ >= options_.circuit_failures) open_circuit();
  std::unique_lock lock(mutex_);
  if (failures_ >= options_.circuit_failures) {
    status_.state = WorkerState::circuit_open;
    delay = options_.probe_interval;
  } else if (failures_ > 0) {
    status_.state = WorkerState::waiting;
    delay = std::min(options_.delay_max, options_.delay_min * (1 << std::min(failures_ - 1, 16)));
  }
  started_.wait_for(lock, delay, [this] { return stopping_; });
  if (stopping_) {
    status_.state = WorkerState::stopped;
    return false;
  }
  ++status_.restarts;
  return true;
}

// From other threads ------------------------------------------------------------------------------

void WorkerKeeper::bind(WorkerEvents events) {
  const std::scoped_lock lock(mutex_);
  events_ = std::move(events);
  const bool serving = status_.state == WorkerState::serving;
  if (!serving) {
    events_.lost({ErrorKind::worker_lost, status_.last_error},
                 status_.state == WorkerState::circuit_open);
  }
}

void WorkerKeeper::tell(EventKind kind, std::string text, std::uint64_t count,
                        Duration after) const {
  if (!options_.observer) return;
  options_.observer({.kind = kind,
                     .at = now(),
                     .name = spec_.name,
                     .device = spec_.device,
                     .text = std::move(text),
                     .count = count,
                     .after = after});
}

void WorkerKeeper::tell_lost(const Error& cause, bool circuit_open) {
  const std::scoped_lock lock(mutex_);
  if (events_.lost) events_.lost(cause, circuit_open);
}

void WorkerKeeper::tell_back() {
  const std::scoped_lock lock(mutex_);
  if (events_.back) events_.back();
}

void WorkerKeeper::alarm(Error cause) {
  std::function<void(const Error&)> poisoned;
  {
    const std::scoped_lock lock(mutex_);
    if (end_wanted_) return;  // it is being ended: the device has been dealt with
    if (cause.kind == ErrorKind::device_poisoned) poisoned = events_.device_poisoned;
  }
  if (poisoned) {
    poisoned(cause);
  } else {
    restart(cause);
  }
}

void WorkerKeeper::restart(const Error& cause) {
  {
    const std::scoped_lock lock(mutex_);
    end_wanted_ = Error{ErrorKind::worker_lost, "its worker is started again: " + cause.message};
  }
  wake();
}

void WorkerKeeper::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    end_wanted_ = Error{ErrorKind::worker_lost, "its worker was stopped"};
  }
  wake();
  started_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WorkerKeeper::wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_.get(), &one, sizeof(one)));
}

bool WorkerKeeper::circuit_open() const {
  const std::scoped_lock lock(mutex_);
  return circuit_open_;
}

WorkerStatus WorkerKeeper::status() const {
  WorkerStatus status;
  {
    const std::scoped_lock lock(mutex_);
    status = status_;
  }
  if (status.pid > 0) status.peak_rss_bytes = peak_rss_bytes(status.pid);
  return status;
}

}  // namespace takt::engine
