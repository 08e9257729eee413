// SPDX-License-Identifier: Apache-2.0
// Every allocation of loading, opening and running a model fails in turn: each failure is an error but where the
// allocation can be done without, and loses nothing.
#include "backend/cuda/device_tests/backend_fixture.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

namespace takt::cuda {
namespace {

using conformance::make_request;
using conformance::Request;
using conformance::TestModel;

constexpr int kNone = std::numeric_limits<int>::max();

// Refuses one allocation, counted from 0.
class RefuseOne final : public AllocationGate {
 public:
  bool admit(std::string_view what, std::size_t) noexcept override {
    if (count_++ != refused_) return true;
    is_registration_ = what == "host registration";
    return false;
  }
  void refuse(int which) {
    count_ = 0;
    refused_ = which;
    is_registration_ = false;
  }
  // Inputs that can't be pinned are copied instead.
  [[nodiscard]] bool refused_a_registration() const { return is_registration_; }
  [[nodiscard]] int count() const { return count_; }

 private:
  std::atomic<int> count_ = 0;
  std::atomic<int> refused_ = kNone;
  std::atomic<bool> is_registration_ = false;
};

class GpuAllocation : public GpuBackendTest {
 protected:
  void SetUp() override {
    GpuBackendTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    model_ = conformance::conv_net();
    model_.batch_max = 2;
    model_.plans = {{"image", ImagePreprocess{}}};
    options_ = options_of(model_);
    options_.input_memory = {mapping_.bytes()};
    Result<std::unique_ptr<Backend>> made = make_gpu_backend(&gate_);
    TAKT_ASSERT_OK(made);
    backend_ = *std::move(made);
  }

  // Loads, opens and runs once.
  [[nodiscard]] Result<void> use() const {
    const auto loaded = load(model_.file, options_);
    if (!loaded) return std::unexpected(loaded.error());
    const auto instance = (*loaded)->open_instance({kDeviceName, 0});
    if (!instance) return std::unexpected(instance.error());
    const Image image = conformance::noise_image(20, 20, PixelFormat::gray8, 1);
    Request request;
    request.inputs.emplace_back(
        ImageStack{{mapping_.put(image, 0), mapping_.put(image, 1000)}, {}});
    conformance::add_outputs(request, (*loaded)->signature());
    const std::vector<Sample> samples{request.sample()};
    return (*instance)->run(samples).status;
  }
  [[nodiscard]] int count_allocations() {
    gate_.refuse(kNone);
    const Result<void> used = use();
    EXPECT_TRUE(used.has_value()) << used.error().message;
    return gate_.count();
  }
  // Whether it was.
  bool try_without(int which) {
    gate_.refuse(which);
    const Result<void> used = use();
    if (!used) {
      EXPECT_EQ(used.error().kind, ErrorKind::out_of_memory)
          << "allocation " << which << ": " << used.error().message;
    }
    return !used;
  }
  void expect_refused(int which) {
    const bool refused = try_without(which);
    ASSERT_NE(refused, gate_.refused_a_registration()) << "allocation " << which;
  }
  void expect_works() {
    gate_.refuse(kNone);
    TAKT_ASSERT_OK(use());
  }

  RefuseOne gate_;
  Mapping mapping_{std::size_t{1} << 16};
  TestModel model_;
  LoadOptions options_;
};

// With a plan, as a device that serves loads it.
TEST_F(GpuAllocation, EachOneThatFailsIsReportedAndTheNextAttemptWorks) {
  expect_works();  // makes the plan
  const int allocations = count_allocations();
  EXPECT_GT(allocations, 10);
  for (int which = 0; which < allocations; ++which) {
    expect_refused(which);
    if (HasFatalFailure()) return;
  }
  expect_works();
}

// A model that stays keeps the context, so that the driver's own memory doesn't come and go.
TEST_F(GpuAllocation, WhatFailedLosesNoMemory) {
  expect_works();
  const auto stays = load(model_.file, options_);
  TAKT_ASSERT_OK(stays);
  const int allocations = count_allocations();
  constexpr int kRounds = 4;
  constexpr int kSettled = 2;  // the first ones fill what the driver keeps for itself
  MemoryUse before;
  for (int round = 0; round < kRounds; ++round) {
    if (round == kSettled) {
      const Result<MemoryUse> use = context_->memory();
      TAKT_ASSERT_OK(use);
      before = *use;
    }
    for (int which = 0; which < allocations; ++which) {
      expect_refused(which);
      if (HasFatalFailure()) return;
    }
    expect_works();
  }
  const Result<MemoryUse> after = context_->memory();
  TAKT_ASSERT_OK(after);
  EXPECT_GE(after->free_bytes, before.free_bytes);
}

// Tuning makes hundreds; some of them, spread evenly. Where only a way to compute a step fails, another is taken.
TEST_F(GpuAllocation, OneThatFailsWhileTuningIsReportedOrAnotherWayIsTaken) {
  options_.cache_dir.clear();
  const int allocations = count_allocations();
  constexpr int kTried = 12;
  const int step = std::max(1, allocations / kTried);
  // How many ways are tried may differ a little from load to load: not up to the last.
  int refused = 0;
  for (int which = 0; which < allocations * 3 / 4; which += step) {
    refused += try_without(which) ? 1 : 0;
  }
  EXPECT_GT(refused, 0);
  expect_works();
}

TEST_F(GpuAllocation, AnInstanceThatFindsNoMemoryLeavesTheModelAndOthersAlone) {
  model_.plans.clear();
  options_ = options_of(model_);
  const auto loaded = load(model_.file, options_);
  TAKT_ASSERT_OK(loaded);
  gate_.refuse(kNone);
  const auto works = (*loaded)->open_instance({kDeviceName, 0});
  TAKT_ASSERT_OK(works);
  const int allocations = gate_.count();
  for (int which = 0; which < allocations; ++which) {
    gate_.refuse(which);
    expect_error(without_value((*loaded)->open_instance({kDeviceName, 1})),
                 ErrorKind::out_of_memory, {"opening an instance"});
    Request request = make_request((*loaded)->signature(), 1, 2);
    TAKT_ASSERT_OK(conformance::run(**works, request).status);
    const auto expected = reference_of(model_, request);
    TAKT_ASSERT_OK(expected);
    expect_outputs(request, *expected, 1e-4);
  }
  gate_.refuse(kNone);
  TAKT_ASSERT_OK((*loaded)->open_instance({kDeviceName, 1}));
}

}  // namespace
}  // namespace takt::cuda
