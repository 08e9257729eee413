// SPDX-License-Identifier: Apache-2.0
#include "gpu_engine.h"

#include "engine/engine.h"
#include "gpu_served.h"
#include "gpu_whole.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <semaphore>
#include <string>

namespace takt::cuda {
namespace {

using namespace std::chrono_literals;

// An engine in this process with the first of the model's instances.
class ServedByEngine {
 public:
  ServedByEngine(ServedModel model, const ServedFile& file)
      : model_(std::move(model)), file_(file), engine_(must(Engine::create(options()))) {
    id_ = must(engine_->add_model(runtime()));
  }
  ~ServedByEngine() { engine_->stop(1s); }
  ServedByEngine(const ServedByEngine&) = delete;
  ServedByEngine& operator=(const ServedByEngine&) = delete;

  // From submit to the call of the completion; `flush` runs it on this thread.
  [[nodiscard]] double request_us(bool flush) {
    const Feed& feed = model_.feeds.front();
    InferRequest request;
    request.model = id_;
    request.inputs.push_back(input_of(file_, feed, 1));
    request.holds = {feed.slots.front()};
    request.more_come = flush;
    // The answering thread may still be in release() when this one goes on.
    struct Answer {
      double us = 0;
      std::binary_semaphore came{0};
    };
    const auto answer = std::make_shared<Answer>();
    const auto start = std::chrono::steady_clock::now();
    engine_->submit(std::move(request), [answer, start](const Result<InferResult>& result) {
      answer->us = microseconds_since(start);
      if (!result) give_up(result.error().message);
      answer->came.release();
    });
    if (flush) engine_->flush(1s);
    answer->came.acquire();
    return answer->us;
  }

  // Of the second instance, past the engine.
  [[nodiscard]] Lane direct() const { return lane_of(model_, file_, 1, 1); }

  [[nodiscard]] std::uint64_t batches_by_callers() const {
    return engine_->stats().batches_by_callers;
  }

 private:
  static EngineOptions options() {
    EngineOptions options;
    options.devices.front().name = kDeviceName;
    return options;
  }

  ModelRuntime runtime() {
    ModelRuntime runtime;
    runtime.name = "model";
    runtime.version = 1;
    runtime.backend = "cuda";
    runtime.device = kDeviceName;
    runtime.signature = model_.loaded->signature();
    for (const TensorSpec& output : runtime.signature.outputs) {
      runtime.output_bytes_max.push_back(must(byte_size(output.type, output.shape)));
    }
    const Json times = percentiles(times_us(50, lane_of(model_, file_, 0, 1)));
    const auto duration = [&](const char* share) {
      return Duration(static_cast<std::int64_t>(times.at(share).get<double>() * 1000));
    };
    runtime.profile = {{1, duration("p50"), duration("p99")}};
    runtime.memory = model_.loaded->memory();
    runtime.instances.push_back(std::move(model_.instances.front()));
    return runtime;
  }

  ServedModel model_;
  const ServedFile& file_;
  std::unique_ptr<Engine> engine_;
  ModelId id_;
};

using Ways = std::map<std::string, std::function<double()>>;

// A B C D, A B C D, ...: the machine's mood is shared. The first tenth of each turn warms up.
std::map<std::string, std::vector<double>> in_turns(const Ways& ways, const EngineRounds& rounds) {
  std::map<std::string, std::vector<double>> samples;
  for (int round = 0; round < rounds.rounds; ++round) {
    for (const auto& [name, sample] : ways) {
      const int warm = std::max(3, rounds.requests / 10);
      for (int i = 0; i < rounds.requests + warm; ++i) {
        const double us = sample();
        if (i >= warm) samples[name].push_back(us);
      }
    }
  }
  return samples;
}

double time_us(const auto& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return microseconds_since(start);
}

}  // namespace

Json measure_engine(const std::shared_ptr<const OpenedDevice>& device, const ServedFile& file,
                    const LoadSettings& settings, InputKind kind, const EngineRounds& rounds,
                    KeptPieces& pieces) {
  const auto bare = open_whole(build_whole(device, file, settings, 1, kind, pieces), file, kind, 1);
  ServedByEngine engine(serve(*device, file, settings, {1}, kind, 2, pieces), file);
  const Lane instance = engine.direct();
  const Ways ways{
      {"bare",
       [&] {
         const auto scope = must(device->context->enter());
         return time_us([&] { bare->graphs.front()->run(); });
       }},
      {"instance", [&] { return time_us(instance); }},
      {"engine_flush", [&] { return engine.request_us(true); }},
      {"engine_submit", [&] { return engine.request_us(false); }},
  };
  const auto samples = in_turns(ways, rounds);
  Json result{{"requests", rounds.rounds * rounds.requests},
              {"spin_us", microseconds(settings.spin)},
              {"ran_on_callers", engine.batches_by_callers()}};
  const Json floor = percentiles(samples.at("bare"));
  for (const auto& [name, times] : samples) {
    result["us"][name] = percentiles(times);
    if (name == "bare") continue;
    for (const char* const share : {"p50", "p99"}) {
      result["added_us"][name][share] =
          result["us"][name][share].get<double>() - floor.at(share).get<double>();
    }
  }
  return result;
}

}  // namespace takt::cuda
