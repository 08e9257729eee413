// SPDX-License-Identifier: Apache-2.0
// A test of the whole backend on a GPU: loading the test models, and what the reference of their graphs says.
// Thread-safe: each object on one thread at a time.
// Owns: GpuBackendTest its backend and a folder, which goes with it.
#pragma once

#include "backend/conformance/conformance_fixture.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "graph/graph.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

inline constexpr const char* kDeviceName = "cuda:0";
inline constexpr const char* kTestVersion = "0.0.0-test";

// Errors: unavailable (no GPU, or no library that the tests need).
[[nodiscard]] Result<std::unique_ptr<Backend>> make_gpu_backend(AllocationGate* gate = nullptr);

// A folder for plans, so that the tests of a process tune a model once; it goes when the process ends.
[[nodiscard]] std::filesystem::path plans_of_this_process();

// Anonymous memory as input slots have it: whole pages, of which a backend may be told.
class Mapping {
 public:
  explicit Mapping(std::size_t bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  // Copies the image to `offset` and gives the view there.
  [[nodiscard]] ImageView put(const Image& image, std::size_t offset) const;

 private:
  std::span<std::byte> bytes_;
};

class GpuBackendTest : public GpuTest {
 protected:
  void SetUp() override;
  ~GpuBackendTest() override;

  // On the GPU, with little tuning and the process's plans.
  [[nodiscard]] static LoadOptions options_of(const conformance::TestModel& model);
  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(const std::string& file,
                                                                const LoadOptions& options) const;
  // Fails the test where either doesn't work; null then.
  [[nodiscard]] std::unique_ptr<Instance> open(const conformance::TestModel& model,
                                               const LoadOptions& options) const;

  std::unique_ptr<Backend> backend_;
  std::filesystem::path folder_;  // the test's own
};

// What the model's graph computes of a request with finished tensors, one for each output.
[[nodiscard]] Result<std::vector<graph::Constant>> reference_of(
    const conformance::TestModel& model, const conformance::Request& request);

// Each output has the reference's shape, and numbers at most `tolerance` of its largest one away.
void expect_outputs(const conformance::Request& request,
                    const std::vector<graph::Constant>& expected, double tolerance);

void expect_error(const Result<void>& result, ErrorKind kind,
                  const std::vector<std::string>& texts);

template <typename T>
Result<void> without_value(const Result<T>& result) {
  return result ? Result<void>() : std::unexpected(result.error());
}

}  // namespace takt::cuda
