// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests on a GPU, by takt's own kernels: each model gives what ONNX expects. All kernels are
// compiled before the first case.
#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/device_tests/node_programs.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "graph/simplify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Constant;
using graph::NodeCase;
using graph::NotRun;

struct DeviceCase {
  graph::NodeTest test;
  Program program;
};
using Outcome = Result<std::variant<DeviceCase, NotRun>>;

Outcome read_case(const NodeCase& node_case) {
  auto read = graph::read_node_case(node_case);
  if (!read) return std::unexpected(std::move(read).error());
  if (auto* const not_run = std::get_if<NotRun>(&*read)) return std::move(*not_run);
  auto& test = std::get<graph::NodeTest>(*read);
  Result<graph::Graph> simplified = graph::simplify(test.graph);
  if (!simplified) return std::unexpected(std::move(simplified).error());
  auto program = node_program(*simplified);
  if (!program) return std::unexpected(std::move(program).error());
  if (auto* const not_run = std::get_if<NotRun>(&*program)) return std::move(*not_run);
  return DeviceCase{std::move(test), std::get<Program>(std::move(*program))};
}

// Pieces of device memory, all bits set: NaN where nobody writes. The first error stays.
class Memory {
 public:
  explicit Memory(const Stream& stream) : stream_(stream) {}

  DeviceSpan take(std::size_t bytes) {
    Result<DeviceMemory> piece =
        DeviceMemory::allocate(stream_.context(), std::max<std::size_t>(1, bytes));
    if (!piece) {
      if (done_) done_ = std::unexpected(std::move(piece).error());
      return {};
    }
    pieces_.push_back(*std::move(piece));
    const DeviceSpan span = pieces_.back().span();
    write(span, std::vector<std::byte>(span.bytes, std::byte{0xff}));
    return span;
  }
  void write(DeviceSpan to, const Result<std::vector<std::byte>>& bytes) {
    if (!done_) return;
    done_ = bytes ? copy_to_device(to, *bytes, stream_) : std::unexpected(bytes.error());
  }
  [[nodiscard]] const Result<void>& done() const { return done_; }

 private:
  const Stream& stream_;
  std::vector<DeviceMemory> pieces_;
  Result<void> done_;
};

// A device with everything compiled that the cases need.
class Session {
 public:
  static Result<std::unique_ptr<Session>> open(const std::vector<NodeCase>& cases) {
    Result<Gpu> gpu = find_gpu();
    if (!gpu) return std::unexpected(std::move(gpu).error());
    std::unique_ptr<Session> session(new Session(*std::move(gpu)));
    if (Result<void> prepared = session->prepare(cases); !prepared) {
      return std::unexpected(std::move(prepared).error());
    }
    return session;
  }

  [[nodiscard]] const Device& device() const noexcept { return gpu_.device; }
  [[nodiscard]] const Outcome& outcome(const NodeCase& node_case) const {
    return outcomes_.at(node_case.name);
  }

  // The program's outputs. Errors: those of kernels, and of the device.
  Result<std::vector<Constant>> run(const DeviceCase& one) {
    const Program& program = one.program;
    Result<std::vector<StepRunner>> runners = runners_of(program);
    if (!runners) return std::unexpected(std::move(runners).error());
    std::size_t workspace_bytes = 0;
    for (const StepRunner& runner : *runners) {
      workspace_bytes = std::max(workspace_bytes, runner.workspace_bytes());
    }
    Memory memory(*stream_);
    const DeviceSpan workspace = memory.take(workspace_bytes);
    const std::vector<std::uint64_t> buffers = place(program, memory);
    for (std::size_t i = 0; i < program.inputs.size(); ++i) {
      const std::vector<std::byte>& bytes = one.test.inputs[i].bytes;
      memory.write({address(program.inputs[i], buffers), bytes.size()}, bytes);
    }
    Result<void> done = memory.done();
    for (const StepRunner& runner : *runners) {
      if (done) done = runner.queue({&*stream_, nullptr, buffers, workspace});
    }
    if (!done) return std::unexpected(std::move(done).error());
    return outputs_of(program, buffers);
  }

 private:
  explicit Session(Gpu gpu) : gpu_(std::move(gpu)) {}

  Result<void> prepare(const std::vector<NodeCase>& cases) {
    Result<std::shared_ptr<const Context>> context =
        Context::create(gpu_.driver, gpu_.device, nullptr);
    if (!context) return std::unexpected(std::move(context).error());
    context_ = *std::move(context);
    Result<Context::Scope> scope = context_->enter();
    if (!scope) return std::unexpected(std::move(scope).error());
    scope_.emplace(*std::move(scope));
    Result<Stream> stream = Stream::create(context_);
    if (!stream) return std::unexpected(std::move(stream).error());
    stream_.emplace(*std::move(stream));
    cache_.emplace(context_, pieces_, &gpu_.nvrtc);
    std::vector<KernelSource> sources;
    for (const NodeCase& node_case : cases) {
      Outcome outcome = read_case(node_case);
      if (auto* const one = outcome ? std::get_if<DeviceCase>(&*outcome) : nullptr) {
        for (KernelSource& source : node_kernels(one->program)) {
          sources.push_back(std::move(source));
        }
      }
      outcomes_.emplace(node_case.name, std::move(outcome));
    }
    // A kernel that can't be compiled fails the cases that need it.
    (void)cache_->prepare(sources, {});
    return {};
  }

  // Own kernels for everything: what tuning chooses is compared with them when it chooses.
  Result<std::vector<StepRunner>> runners_of(const Program& program) {
    std::vector<StepRunner> runners;
    for (const Step& step : program.steps) {
      Result<StepRunner> runner = StepRunner::with_kernels(step, *cache_);
      if (!runner) return std::unexpected(std::move(runner).error().within(step.name));
      runners.push_back(*std::move(runner));
    }
    return runners;
  }

  // Where each buffer begins.
  static std::vector<std::uint64_t> place(const Program& program, Memory& memory) {
    const std::uint64_t arena = memory.take(program.arena_bytes).address;
    std::vector<std::uint64_t> addresses;
    for (const Buffer& buffer : program.buffers) {
      if (buffer.kind == BufferKind::arena) {
        addresses.push_back(arena + buffer.arena_offset);
        continue;
      }
      const DeviceSpan span = memory.take(buffer.bytes);
      if (buffer.kind == BufferKind::constant) memory.write(span, constant_bytes(buffer));
      addresses.push_back(span.address);
    }
    return addresses;
  }

  static std::uint64_t address(const View& view, const std::vector<std::uint64_t>& buffers) {
    return buffers[static_cast<std::size_t>(view.buffer)] +
           static_cast<std::uint64_t>(view.offset) * element_bytes(view.type);
  }

  Result<std::vector<Constant>> outputs_of(const Program& program,
                                           const std::vector<std::uint64_t>& buffers) const {
    std::vector<Constant> outputs;
    Result<void> done;
    for (const View& view : program.outputs) {
      const std::size_t bytes = *element_count(view.shape) * element_bytes(view.type);
      outputs.push_back({{view.type, view.shape}, std::vector<std::byte>(bytes)});
      if (done)
        done = copy_to_host(outputs.back().bytes, {address(view, buffers), bytes}, *stream_);
    }
    if (done) done = stream_->synchronize();
    if (!done) return std::unexpected(std::move(done).error());
    return outputs;
  }

  Gpu gpu_;
  PieceStore pieces_;
  std::map<std::string, Outcome> outcomes_;  // by the case's name
  std::shared_ptr<const Context> context_;
  std::optional<Context::Scope> scope_;  // destroyed before the context
  std::optional<Stream> stream_;
  std::optional<KernelCache> cache_;
};

class NodeOnGpu : public ::testing::TestWithParam<NodeCase> {
 protected:
  static void SetUpTestSuite() {
    Result<std::unique_ptr<Session>> opened = Session::open(selected_cases());
    if (opened) {
      session_ = *std::move(opened);
      RecordProperty("device", session_->device().name);
    } else {
      failure_ = std::move(opened).error();
    }
  }
  static void TearDownTestSuite() { session_.reset(); }

  void SetUp() override {
    if (failure_ && failure_->kind == ErrorKind::unavailable) GTEST_SKIP() << failure_->message;
    ASSERT_FALSE(failure_) << failure_->message;
  }

  // A fault on the device loses it for this process.
  static void lose_device(const std::string& name) {
    failure_ = Error{ErrorKind::device_poisoned,
                     name +
                         " has lost the device; run the other cases without it "
                         "(--gtest_filter=-*" +
                         name + ")"};
  }

  static std::unique_ptr<Session> session_;
  static std::optional<Error> failure_;

 private:
  // Those that the filter leaves.
  static std::vector<NodeCase> selected_cases() {
    std::set<std::string> names;
    const testing::TestSuite& suite = *testing::UnitTest::GetInstance()->current_test_suite();
    for (int i = 0; i < suite.total_test_count(); ++i) {
      const testing::TestInfo& info = *suite.GetTestInfo(i);
      const std::string name = info.name();
      if (info.should_run()) names.insert(name.substr(name.find('/') + 1));
    }
    std::vector<NodeCase> cases = graph::node_cases();
    std::erase_if(cases, [&](const NodeCase& each) { return !names.contains(each.name); });
    return cases;
  }
};

std::unique_ptr<Session> NodeOnGpu::session_;
std::optional<Error> NodeOnGpu::failure_;

// The recorded properties are what tests/models/operators_table.py reads.
TEST_P(NodeOnGpu, GivesWhatOnnxExpects) {
  RecordProperty("operators", fmt::format("{}", fmt::join(GetParam().operators, " ")));
  const Outcome& outcome = session_->outcome(GetParam());
  ASSERT_TRUE(outcome) << outcome.error().message;
  if (const auto* const not_run = std::get_if<NotRun>(&*outcome)) {
    RecordProperty(not_run->property, not_run->reason);
    GTEST_SKIP() << not_run->property << ": " << not_run->reason;
  }
  const auto& one = std::get<DeviceCase>(*outcome);
  const auto outputs = session_->run(one);
  if (!outputs && outputs.error().kind == ErrorKind::device_poisoned) lose_device(GetParam().name);
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_EQ(graph::difference(*outputs, one.test.expected), "");
}

INSTANTIATE_TEST_SUITE_P(All, NodeOnGpu, ::testing::ValuesIn(graph::node_cases()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace takt::cuda
