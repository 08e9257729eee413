// SPDX-License-Identifier: Apache-2.0
#include "app/model_trial.h"

#include "backend/image_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

namespace takt::app {
namespace {

using scheduler::ProfilePoint;
using scheduler::SlidingQuantiles;

// Loading measures each batch size directly on the instance; sizes beyond one are told from there.
constexpr Duration kProfileTimeMax = std::chrono::seconds(3);
constexpr std::size_t kSamplesMin = 16;  // of each model, however slow it is
constexpr std::size_t kSamplesMax = 1000;

const TaskSpec& find_task(const config::Config& config, const std::string& name) {
  return *std::ranges::find(config.tasks, name, &TaskSpec::name);
}

// What one answered request tells.
struct Sample {
  Duration to_dispatch{};  // submitted until it left the queue
  Duration exec{};
  Duration around{};  // the rest, from leaving the queue to its answer
  int batch = 1;
};

// Requests of one model, each sent when the one before was answered.
class Stream {
 public:
  Stream(ModelTrial& trial, const LoadedModel& model)
      : trial_(trial), task_(model.task), name_(model.replicas.front().key.model) {}

  void start(int outstanding) {
    {
      const std::scoped_lock lock(mutex_);
      open_ = outstanding;
    }
    for (int i = 0; i < outstanding; ++i) submit();
  }
  void stop() { stopping_ = true; }

  [[nodiscard]] std::size_t wait(std::size_t count, Duration wait_max) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait_max,
                      [&] { return samples_.size() >= count || error_ || open_ == 0; });
    return samples_.size();
  }
  // Once stopped: its samples when nothing is on its way any more.
  [[nodiscard]] Result<std::vector<Sample>> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_ == 0; });
    if (error_) return std::unexpected(error_->within("model '" + name_ + "'"));
    return std::move(samples_);
  }
  [[nodiscard]] bool failed() {
    const std::scoped_lock lock(mutex_);
    return error_.has_value();
  }

 private:
  void submit() {
    trial_.engine().submit(trial_.request(task_),
                           [this](const Result<InferResult>& result) { answered(result); });
  }

  void answered(const Result<InferResult>& result) {
    const SystemClock clock;
    const TimePoint now = clock.now();
    bool again = !stopping_;
    {
      const std::scoped_lock lock(mutex_);
      if (!result) {
        if (!error_) error_ = result.error();
        again = false;
      } else if (samples_.size() < kSamplesMax) {
        const InferTimings& timings = result->timings;
        const Duration exec = timings.batch.exec_end - timings.batch.exec_start;
        samples_.push_back({timings.dispatched - timings.submitted, exec,
                            now - timings.dispatched - exec, timings.batch_size});
      }
      if (!again) --open_;
      // Under the lock: take() may end this stream as soon as it is let go.
      changed_.notify_all();
    }
    if (again) submit();
  }

  ModelTrial& trial_;
  const std::string task_;
  const std::string name_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::vector<Sample> samples_;
  std::optional<Error> error_;
  int open_ = 0;
};

template <typename Value>
Duration median(const std::vector<Sample>& samples, Value value) {
  std::vector<Duration> values;
  values.reserve(samples.size());
  for (const Sample& sample : samples) values.push_back(std::invoke(value, sample));
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

// At most a window's worth of rising values, evenly taken.
std::vector<Duration> thinned(const std::vector<Duration>& sorted) {
  constexpr std::size_t kMax = SlidingQuantiles::kCapacity;
  if (sorted.size() <= kMax) return sorted;
  std::vector<Duration> window;
  window.reserve(kMax);
  for (std::size_t i = 0; i < kMax; ++i) {
    window.push_back(sorted[i * (sorted.size() - 1) / (kMax - 1)]);
  }
  return window;
}

ProfilePoint point_of(const std::vector<Sample>& samples) {
  std::vector<Duration> times;
  times.reserve(samples.size());
  for (const Sample& sample : samples) times.push_back(sample.exec);
  std::ranges::sort(times);
  const auto at = [&times](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  return {.batch = 1,
          .p50 = at(0.5),
          .p99 = at(0.99),
          .longest = times.back(),
          .executions = static_cast<std::int64_t>(times.size()),
          .window = thinned(times)};
}

class Measurement {
 public:
  Measurement(ModelTrial& trial, const config::Config& config, Duration time_each,
              const std::function<void(const TrialProgress&)>& progress)
      : trial_(trial),
        lanes_(lanes_of(config.devices.front())),
        time_each_(time_each),
        progress_(progress),
        steps_(static_cast<double>(trial.models().size()) * 2) {}

  Result<std::vector<StoredProfile>> run() {
    std::vector<StoredProfile> profiles;
    for (const LoadedModel& model : trial_.models()) {
      Result<StoredProfile> profile = alone(model);
      if (!profile) return std::unexpected(std::move(profile).error());
      profiles.push_back(std::move(*profile));
      done_ += 1;
    }
    if (lanes_ > 1) {
      if (Result<void> done = together(profiles); !done) return std::unexpected(done.error());
    }
    return profiles;
  }

 private:
  Result<StoredProfile> alone(const LoadedModel& model) {
    Stream stream(trial_, model);
    stream.start(1);
    wait(stream, model.replicas.front().key.model + " alone", time_each_, 1);
    stream.stop();
    const Result<std::vector<Sample>> samples = stream.take();
    if (!samples) return std::unexpected(samples.error());
    StoredProfile profile = model.replicas.front().stored;
    MeasuredProfile& measured = profile.measured.emplace();
    measured.points.push_back(point_of(*samples));
    measured.batch_overhead = std::max(Duration{}, median(*samples, &Sample::around));
    measured.request_overhead = std::max(Duration{}, median(*samples, &Sample::to_dispatch));
    const ReplicaInfo replica = trial_.engine().replicas(model.id).front();
    for (const LatencyPoint& point : replica.profile) {
      if (point.batch <= 1) continue;
      measured.points.push_back({.batch = point.batch,
                                 .p50 = point.p50,
                                 .p99 = point.p99,
                                 .longest = point.p99,
                                 .executions = 0});
    }
    return profile;
  }

  // Every lane is busy, and no request waits for company: batches of one.
  Result<void> together(std::vector<StoredProfile>& profiles) {
    const auto models = static_cast<int>(trial_.models().size());
    const int outstanding = (lanes_ + models - 1) / models;
    std::vector<std::unique_ptr<Stream>> streams;
    for (const LoadedModel& model : trial_.models()) {
      streams.push_back(std::make_unique<Stream>(trial_, model));
      streams.back()->start(outstanding);
    }
    const Duration time = time_each_ * models;
    for (const auto& stream : streams) wait(*stream, "all at once", time, models);
    for (const auto& stream : streams) stream->stop();
    Result<void> outcome;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      Result<std::vector<Sample>> samples = streams[i]->take();
      if (!samples) {
        outcome = std::unexpected(samples.error());
        continue;
      }
      std::erase_if(*samples, [](const Sample& sample) { return sample.batch != 1; });
      if (samples->empty()) continue;
      MeasuredProfile& measured = *profiles[i].measured;
      measured.contention = std::max(
          1.0, static_cast<double>(median(*samples, &Sample::exec).count()) /
                   static_cast<double>(std::max(Duration(1), measured.points[0].p50).count()));
    }
    return outcome;
  }

  // Until there is a window's worth of samples, or enough of them after `time`.
  void wait(Stream& stream, const std::string& what, Duration time, int steps) {
    const SystemClock clock;
    const TimePoint start = clock.now();
    while (!stream.failed()) {
      const std::size_t count =
          stream.wait(SlidingQuantiles::kCapacity, std::chrono::milliseconds(100));
      const Duration spent = clock.now() - start;
      if (count >= SlidingQuantiles::kCapacity) return;
      if (spent >= time && count >= kSamplesMin) return;
      const double share =
          std::min(1.0, static_cast<double>(spent.count()) / static_cast<double>(time.count()));
      if (progress_) progress_({what, (done_ + share * steps) / steps_});
    }
  }

  ModelTrial& trial_;
  const int lanes_;
  const Duration time_each_;
  const std::function<void(const TrialProgress&)>& progress_;
  const double steps_;
  double done_ = 0;
};

}  // namespace

Result<std::unique_ptr<ModelTrial>> ModelTrial::open(
    const config::Config& config, const std::vector<std::string>& tasks,
    const std::function<void(const std::string&)>& report) {
  if (Result<void> checked = check_machine(config); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  std::unique_ptr<ModelTrial> trial(new ModelTrial());
  for (const std::string& task : tasks) {
    if (Result<void> made = trial->make_inputs(config, find_task(config, task)); !made) {
      return std::unexpected(std::move(made).error().within("tasks." + task));
    }
  }
  Result<std::unique_ptr<Engine>> engine = Engine::create(engine_options(config));
  if (!engine) return std::unexpected(engine.error());
  trial->engine_ = std::move(*engine);
  trial->supervisor_ = std::make_unique<Supervisor>(config.workers.supervisor, *trial->engine_);
  const ProfileStore profiles(config.models.cache);
  const ModelPlaces places{*trial->engine_, *trial->supervisor_, trial->inputs_, &profiles,
                           kProfileTimeMax};
  Result<std::vector<LoadedModel>> loaded = load_models(config, tasks, places, report);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  trial->models_ = std::move(*loaded);
  for (const std::string& task : tasks) {
    if (Result<void> found = trial->resolve(find_task(config, task)); !found) {
      return std::unexpected(std::move(found).error());
    }
  }
  return trial;
}

ModelTrial::~ModelTrial() {
  if (engine_) engine_->stop(std::chrono::seconds(1));
  supervisor_.reset();
}

// One slot a task: requests only look into it.
Result<void> ModelTrial::make_inputs(const config::Config& config, const TaskSpec& task) {
  const Result<ipc::ModelDescription> model = describe_task_model(config, task);
  if (!model) return std::unexpected(model.error());
  const auto plans = input_plans(task, model->signature);
  if (!plans) return std::unexpected(plans.error());
  InferRequest& request = requests_[task.name];
  for (const TensorSpec& spec : model->signature.inputs) {
    const auto plan = std::ranges::find(*plans, spec.name, &InputPlan::name);
    const Result<ImageInput> input = resolve_image_input(*plan->image, spec);
    if (!input) return std::unexpected(input.error());
    const PixelFormat format = input->preprocess.color;
    const int stride = input->staged.width * channel_count(format);
    const std::size_t bytes =
        static_cast<std::size_t>(stride) * static_cast<std::size_t>(input->staged.height);
    const auto count = static_cast<std::size_t>(input->image_count);
    const std::array classes{SizeClass{bytes * count, 1}};
    Result<std::shared_ptr<SlotPool>> pool = SlotPool::create("trial-" + task.name, classes);
    if (!pool) return std::unexpected(std::move(pool).error());
    Result<Slot> slot = (*pool)->acquire(bytes * count);
    if (!slot) return std::unexpected(std::move(slot).error());
    // Mid grey: neither all zeros, which some kernels skip, nor saturated.
    std::memset(slot->bytes().data(), 128, bytes * count);
    ImageStack stack;
    for (std::size_t i = 0; i < count; ++i) {
      const auto* pixels = reinterpret_cast<const std::uint8_t*>(slot->bytes().data()) + i * bytes;
      stack.images.push_back({pixels, input->staged.width, input->staged.height, stride, format});
    }
    request.inputs.emplace_back(std::move(stack));
    request.holds.push_back(std::move(*slot));
    inputs_->add(*pool);
  }
  return {};
}

Result<void> ModelTrial::resolve(const TaskSpec& task) {
  const Result<ModelInfo> info = engine_->find(task.model, task.version);
  if (!info) return std::unexpected(info.error());
  requests_.at(task.name).model = info->id;
  return {};
}

InferRequest ModelTrial::request(const std::string& task) const {
  return requests_.find(task)->second;
}

config::Config on_device(config::Config config, const std::string& device) {
  std::erase_if(config.devices, [&](const auto& other) { return other.name != device; });
  config.devices.front().memory_bytes_max = 0;
  for (TaskSpec& task : config.tasks) task.devices.clear();
  return config;
}

Result<std::vector<StoredProfile>> measure_models(
    ModelTrial& trial, const config::Config& config, Duration time_each,
    const std::function<void(const TrialProgress&)>& progress) {
  return Measurement(trial, config, time_each, progress).run();
}

}  // namespace takt::app
