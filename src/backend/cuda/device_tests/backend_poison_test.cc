// SPDX-License-Identifier: Apache-2.0
// An instance on a device whose context is lost. That loses every context of the process, so it happens in a
// process of its own.
#include "backend/cuda/cuda_instance.h"
#include "backend/cuda/cuda_model.h"
#include "backend/cuda/device_tests/backend_fixture.h"
#include "backend/cuda/run/planned_build.h"

#include <cstdio>
#include <cstdlib>
#include <future>
#include <utility>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using conformance::conv_net;
using conformance::make_request;
using conformance::Request;

constexpr const char* kWriteTo = R"(
extern "C" __global__ void write_to(unsigned* address) { *address = 1; }
)";
constexpr int kUnprepared = 2;

void tell(std::string_view name, const Result<void>& outcome) {
  const std::string_view kind = outcome ? "no error" : to_string(outcome.error().kind);
  std::fprintf(stderr, "%.*s: %.*s; ", static_cast<int>(name.size()), name.data(),
               static_cast<int>(kind.size()), kind.data());
}

class GpuBackendPoison : public GpuBackendTest {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // the child starts anew, without our context
    GpuBackendTest::SetUp();
  }

  // As the backend makes it, but on a device that the test reaches too.
  [[nodiscard]] Result<std::shared_ptr<const CudaModel>> make_model() const {
    Result<OpenedDevice> opened = open_device(
        library_search(folders_of_environment(), fs::read_symlink("/proc/self/exe")), 0);
    if (!opened) return std::unexpected(std::move(opened).error());
    ModelOptions build;
    build.batches = {1, 2};
    build.tuning.effort = Effort::fast;
    Result<PlannedModel> planned = build_with_plan(
        std::make_shared<const OpenedDevice>(*std::move(opened)),
        conformance::model_file("conv_net"), build, {{}, {}, "conv_net", kTestVersion}, {});
    if (!planned) return std::unexpected(std::move(planned).error());
    Result<BatchRules> rules = make_batch_rules({conv_net().inputs, conv_net().outputs, 2}, {});
    if (!rules) return std::unexpected(std::move(rules).error());
    auto model = std::make_shared<CudaModel>();
    model->compiled = std::move(planned->model);
    model->rules = *std::move(rules);
    return model;
  }
  // Returns once the device has found the fault.
  [[nodiscard]] Result<void> write_to_no_memory(const OpenedDevice& device) const {
    const auto code = device.nvrtc->compile(kWriteTo, "write_to.cu", device.device().capability);
    if (!code) return std::unexpected(code.error());
    const Result<Module> module = Module::load(device.context, *code);
    if (!module) return std::unexpected(module.error());
    const Result<Kernel> kernel = module->kernel("write_to");
    if (!kernel) return std::unexpected(kernel.error());
    const Result<Stream> stream = Stream::create(device.context);
    if (!stream) return std::unexpected(stream.error());
    const Result<Context::Scope> scope = device.context->enter();
    if (!scope) return std::unexpected(scope.error());
    Result<void> done = kernel->launch(*stream, {}, std::uint64_t{16});
    if (done) done = stream->synchronize();
    return done;
  }

  // Ends the process: nothing of it can be used afterwards.
  [[noreturn]] void use_a_lost_device() {
    fs::remove_all(folder_);
    Result<std::shared_ptr<const CudaModel>> model = make_model();
    if (!model) std::_Exit(kUnprepared);
    Result<std::unique_ptr<Instance>> instance = CudaInstance::open(*model, 0);
    if (!instance) std::_Exit(kUnprepared);
    Request request = make_request((*model)->rules.signature, 1, 2);
    const std::vector<Sample> samples{request.sample()};
    tell("before", (*instance)->run(samples).status);
    tell("fault", write_to_no_memory((*model)->compiled->device()));
    tell("run", (*instance)->run(samples).status);
    tell("again", (*instance)->run(samples).status);
    std::promise<Result<void>> ended;
    std::future<Result<void>> status = ended.get_future();
    const Result<void> taken = (*instance)->submit(
        samples, [&](BatchOutcome outcome) { ended.set_value(std::move(outcome.status)); });
    tell("submit", taken);
    if (taken) tell("completion", status.get());
    tell("open", without_value(CudaInstance::open(*model, 1)));
    instance->reset();
    model->reset();
    std::fprintf(stderr, "all gone");
    std::_Exit(0);
  }
};

TEST_F(GpuBackendPoison, ALostDeviceIsToldByEveryBatchAndNothingHangs) {
  EXPECT_EXIT(use_a_lost_device(), testing::ExitedWithCode(0),
              "before: no error; fault: device_poisoned; run: device_poisoned; "
              "again: device_poisoned; submit: no error; completion: device_poisoned; "
              "open: device_poisoned; all gone");
}

}  // namespace
}  // namespace takt::cuda
