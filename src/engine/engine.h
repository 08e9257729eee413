// SPDX-License-Identifier: Apache-2.0
// The engine: takes requests, lets the scheduler decide, runs batches on instances, answers.
// Thread-safe: every member from any thread; add_model, remove_model and stop not from a completion.
// Owns: the dispatcher thread, the models' instances and the pools of their outputs.
#pragma once

#include "core/model_runtime.h"
#include "engine/inference_client.h"
#include "engine/model_statistics.h"
#include "engine/options.h"
#include "scheduler/profile.h"

#include <memory>
#include <optional>
#include <vector>

namespace takt {

namespace engine {
class Inbox;
}

class Engine final : public InferenceClient {
 public:
  // Errors: invalid_input (devices, limits), unavailable (no thread to be had).
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(EngineOptions options);
  ~Engine() override;  // stop(drain_on_destruction_max)
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The version serves when this returns. On failure the runtime is destroyed. Errors:
  // invalid_input (unknown device, name and version already loaded, no instance, a profile or
  // sizes that make no sense), out_of_memory (no room for its outputs), unavailable (stopping).
  [[nodiscard]] Result<ModelId> add_model(ModelRuntime runtime, ModelService service = {});

  // Further instances of a version that serves, on another device, with their own profile. Its
  // queue is one; each request runs where it is expected to be done first. Errors: as add_model
  // (also for a device that it is on already, or where it takes or gives something else), unavailable (not loaded).
  [[nodiscard]] Result<void> add_replica(ModelId model, ModelRuntime runtime,
                                         std::vector<scheduler::ProfilePoint> learned = {});

  // The worker that holds the instances of this version on that device has gone: nothing is started
  // on them, what they ran fails with worker_lost and is tried once more, on another device or when
  // they are back. `suspend`: they will not be back soon; once that holds for each of its devices,
  // its requests are refused at once. May be called again. Another device's name changes nothing.
  void lose_instances(ModelId model, std::string_view device, bool suspend);
  void restore_instances(ModelId model, std::string_view device);

  // Takes the version out of service: find() doesn't see it from now on, new requests are refused,
  // those that wait still run for up to `drain_timeout` and are then refused, those that run end.
  // Returns when all is answered; the instances are destroyed on the calling thread, those that
  // hang beyond batch_end_wait_max are abandoned: their requests are answered with `unavailable`,
  // their memory is kept. Errors: unavailable (not loaded).
  [[nodiscard]] Result<void> remove_model(ModelId model, Duration drain_timeout);

  // Refuses new requests with `unavailable`, drains as remove_model() does, answers everything and
  // joins the dispatcher. A second call waits for the first.
  void stop(Duration drain_timeout);

  [[nodiscard]] Result<ModelInfo> find(std::string_view model,
                                       std::optional<std::int64_t> version = {}) const override;
  void flush(Duration spare) override;
  RequestId submit(InferRequest request, InferCompletion done) override;
  void cancel(RequestId request) override;
  void expect_arrivals(ModelId model, FlowId flow, Duration min_interval, Duration deadline,
                       int rows) override;
  [[nodiscard]] Duration expected_p99(ModelId model, int rows) const override;

  // Counts an event and tells the observer; for whoever keeps the workers.
  void report(const engine::Event& event);

  // The versions that serve, by name and rising version.
  [[nodiscard]] std::vector<ModelInfo> models() const;
  [[nodiscard]] EngineStats stats() const;
  // What a model has done since it was added; empty: not loaded. A request is in it before its
  // completion is called.
  [[nodiscard]] std::optional<engine::ModelStatistics> statistics(ModelId model) const;

  // Where it runs, in the order in which the replicas came; empty: not loaded.
  [[nodiscard]] std::vector<ReplicaInfo> replicas(ModelId model) const;

  // The execution times of a model on a device by batch size as the scheduler knows them now, to be
  // kept and given back as what was learned there. Waits for the dispatcher; not from a completion.
  // Empty: not loaded there, or the engine has stopped.
  [[nodiscard]] std::vector<scheduler::ProfilePoint> profile(ModelId model,
                                                             std::string_view device) const;

  // For threads that spin beside the engine, see Inbox::look.
  [[nodiscard]] std::shared_ptr<engine::Inbox> inbox() const;

  // Makes the dispatcher look at the clock: for clocks that don't run by themselves.
  void clock_moved();

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace takt
