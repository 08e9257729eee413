// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cudnn.h"

#include "backend/cuda/cudnn_problem.h"

// The library is opened at run time, and plans are kept in the library's own format.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>

namespace cudnn_frontend {
// Where the front end looks for the library's functions; set once, by Cudnn::open. It also knows how to open
// CUDA's runtime library, for calls that are avoided here: that one would have a say in which context is current.
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace takt::cuda {

namespace fe = cudnn_frontend;

struct CudnnExecution {
  std::shared_ptr<const Context> context;
  std::shared_ptr<fe::ExecutionPlan> plan;
  std::size_t addresses = 0;
  std::vector<float> scalars;

  CudnnExecution(std::shared_ptr<const Context> context_, std::shared_ptr<fe::ExecutionPlan> plan_,
                 std::size_t addresses_, std::vector<float> scalars_)
      : context(std::move(context_)),
        plan(std::move(plan_)),
        addresses(addresses_),
        scalars(std::move(scalars_)) {}
  CudnnExecution(const CudnnExecution&) = delete;
  CudnnExecution& operator=(const CudnnExecution&) = delete;
  // Unloads the kernels' code.
  ~CudnnExecution() {
    const Result<Context::Scope> scope = context->enter();
    plan.reset();
  }

  static CudnnPlan make(std::shared_ptr<const Context> context, std::string name,
                        std::shared_ptr<fe::ExecutionPlan> plan, std::size_t addresses,
                        std::vector<float> scalars) {
    const auto workspace = static_cast<std::size_t>(plan->getWorkspaceSize());
    return {std::move(name), workspace,
            std::make_shared<const CudnnExecution>(std::move(context), std::move(plan), addresses,
                                                   std::move(scalars))};
  }
};

namespace {

using TensorPtr = std::shared_ptr<fe::graph::Tensor_attributes>;

// What the front end asks of the library on the way to a plan came with this version.
constexpr std::size_t kVersionMin = 90200;

// Behind cuDNN's name of a plan that computes a problem with_identity().
constexpr std::string_view kIdentitySuffix = " identity";

// What went wrong is only in the text; a lost context shows in the next call to the driver.
Error error_of(const Context& context, std::string_view what, const std::string& message) {
  const Result<MemoryUse> alive = context.memory();
  if (!alive && alive.error().kind == ErrorKind::device_poisoned) {
    return Error(alive.error()).within(fmt::format("{}: {}", what, message));
  }
  // CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and its like; before version 9 ALLOC_FAILED.
  const bool full = message.find("ALLOCATION_FAILED") != std::string::npos ||
                    message.find("ALLOC_FAILED") != std::string::npos;
  return {full ? ErrorKind::out_of_memory : ErrorKind::internal,
          fmt::format("{}: {}", what, message)};
}

// The front end reports by value, and in places throws.
template <typename Work>
std::invoke_result_t<Work> guarded(const Context& context, std::string_view what, Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::out_of_memory, fmt::format("{}: the host has no memory left", what));
  } catch (const std::exception& thrown) {
    return std::unexpected(error_of(context, what, thrown.what()));
  }
}

cudnnHandle_t raw(const CudnnHandle& handle) {
  return static_cast<cudnnHandle_t>(handle.handle());
}

fe::DataType_t type_of(DataType type) {
  switch (type) {
    case DataType::fp16:
      return fe::DataType_t::HALF;
    case DataType::bf16:
      return fe::DataType_t::BFLOAT16;
    default:
      return fe::DataType_t::FLOAT;
  }
}

fe::PointwiseMode_t mode_of(CudnnPointwiseKind kind) {
  switch (kind) {
    case CudnnPointwiseKind::add:
      return fe::PointwiseMode_t::ADD;
    case CudnnPointwiseKind::mul:
      return fe::PointwiseMode_t::MUL;
    case CudnnPointwiseKind::relu:
      return fe::PointwiseMode_t::RELU_FWD;
    case CudnnPointwiseKind::sigmoid:
      return fe::PointwiseMode_t::SIGMOID_FWD;
    case CudnnPointwiseKind::tanh:
      return fe::PointwiseMode_t::TANH_FWD;
    case CudnnPointwiseKind::swish:
      return fe::PointwiseMode_t::SWISH_FWD;
    case CudnnPointwiseKind::gelu:
      return fe::PointwiseMode_t::GELU_FWD;
    case CudnnPointwiseKind::gelu_tanh:
      return fe::PointwiseMode_t::GELU_APPROX_TANH_FWD;
    case CudnnPointwiseKind::elu:
      return fe::PointwiseMode_t::ELU_FWD;
    case CudnnPointwiseKind::softplus:
      return fe::PointwiseMode_t::SOFTPLUS_FWD;
    case CudnnPointwiseKind::identity:
      return fe::PointwiseMode_t::IDENTITY;
  }
  return fe::PointwiseMode_t::NOT_SET;
}

// Tensors are told apart by numbers: first the addresses in run()'s order, then the scalars.
std::int64_t tensor_id(std::size_t place) {
  return static_cast<std::int64_t>(place) + 1;
}

// A graph of the front end that lets its plans be taken out of it: run without the graph, they need neither the
// memory of it nor CUDA's runtime library.
class PlanningGraph : public fe::graph::Graph {
 public:
  explicit PlanningGraph(const CudnnProblem& problem);

  [[nodiscard]] std::int64_t plan_count() const { return get_execution_plan_count(); }
  [[nodiscard]] std::shared_ptr<fe::ExecutionPlan> plan(std::int64_t index) const {
    return plans.execution_plans.at(static_cast<std::size_t>(index));
  }

 private:
  TensorPtr add_tensor(const CudnnTensor& tensor, std::int64_t id);
  TensorPtr add_scalar(float value, std::int64_t id, std::size_t rank);
  TensorPtr add_product(const CudnnProblem& problem);
  TensorPtr add_pointwise(const CudnnPointwise& pointwise);
  [[nodiscard]] const TensorPtr& find(const CudnnArgument& argument) const;

  std::vector<TensorPtr> inputs_, scalars_, results_;
};

PlanningGraph::PlanningGraph(const CudnnProblem& problem) {
  set_intermediate_data_type(fe::DataType_t::FLOAT);
  set_compute_data_type(fe::DataType_t::FLOAT);
  // The plan's owner keeps it alive for captured graphs.
  set_cuda_graph_retention(fe::CudaGraphRetention_t::NONE);
  for (const CudnnTensor& input : problem.inputs) {
    inputs_.push_back(add_tensor(input, tensor_id(inputs_.size())));
  }
  for (const float scalar : problem.scalars) {
    const std::size_t place = inputs_.size() + 1 + scalars_.size();
    scalars_.push_back(add_scalar(scalar, tensor_id(place), problem.output.sizes.size()));
  }
  results_.push_back(add_product(problem));
  for (const CudnnPointwise& pointwise : problem.pointwise) {
    results_.push_back(add_pointwise(pointwise));
  }
  // Said of all results: what dgrad gives can't be inferred.
  for (const TensorPtr& result : results_) {
    result->set_dim(problem.output.sizes).set_stride(problem.output.strides);
  }
  results_.back()
      ->set_output(true)
      .set_uid(tensor_id(inputs_.size()))
      .set_data_type(type_of(problem.output.type))
      .set_alignment(static_cast<std::int64_t>(problem.output.alignment));
}

TensorPtr PlanningGraph::add_tensor(const CudnnTensor& given, std::int64_t id) {
  return tensor(fe::graph::Tensor_attributes()
                    .set_uid(id)
                    .set_data_type(type_of(given.type))
                    .set_dim(given.sizes)
                    .set_stride(given.strides)
                    .set_alignment(static_cast<std::int64_t>(given.alignment)));
}

TensorPtr PlanningGraph::add_scalar(float value, std::int64_t id, std::size_t rank) {
  const std::vector<std::int64_t> ones(rank, 1);
  TensorPtr made = tensor(value, fe::graph::ScalarType::RUNTIME_PARAM);
  made->set_uid(id).set_dim(ones).set_stride(ones);
  return made;
}

TensorPtr PlanningGraph::add_product(const CudnnProblem& problem) {
  const graph::Window& window = problem.window;
  const auto fill = [&](auto attributes) {
    return attributes.set_pre_padding(window.pads_begin)
        .set_post_padding(window.pads_end)
        .set_stride(window.strides)
        .set_dilation(window.dilations);
  };
  switch (problem.product) {
    case CudnnProduct::convolution:
      return conv_fprop(inputs_[0], inputs_[1], fill(fe::graph::Conv_fprop_attributes()));
    case CudnnProduct::transposed_convolution:
      return conv_dgrad(inputs_[0], inputs_[1], fill(fe::graph::Conv_dgrad_attributes()));
    case CudnnProduct::matmul:
      break;
  }
  return matmul(inputs_[0], inputs_[1], fe::graph::Matmul_attributes());
}

TensorPtr PlanningGraph::add_pointwise(const CudnnPointwise& pointwise) {
  fe::graph::Pointwise_attributes attributes;
  attributes.set_mode(mode_of(pointwise.kind));
  if (pointwise.kind == CudnnPointwiseKind::relu) {
    attributes.set_relu_lower_clip(std::max(pointwise.low, std::numeric_limits<float>::lowest()));
    if (std::isfinite(pointwise.high)) attributes.set_relu_upper_clip(pointwise.high);
    if (pointwise.slope != 0) attributes.set_relu_lower_clip_slope(pointwise.slope);
  } else if (pointwise.kind == CudnnPointwiseKind::swish) {
    attributes.set_swish_beta(pointwise.alpha);
  } else if (pointwise.kind == CudnnPointwiseKind::elu) {
    attributes.set_elu_alpha(pointwise.alpha);
  }
  const TensorPtr& first = find(pointwise.arguments.at(0));
  if (pointwise.arguments.size() == 1) return this->pointwise(first, attributes);
  return this->pointwise(first, find(pointwise.arguments.at(1)), attributes);
}

const TensorPtr& PlanningGraph::find(const CudnnArgument& argument) const {
  const auto& tensors = argument.source == CudnnSource::input    ? inputs_
                        : argument.source == CudnnSource::scalar ? scalars_
                                                                 : results_;
  return tensors.at(static_cast<std::size_t>(argument.index));
}

// Why the graph has no plans to try; empty where it has.
std::string prepare(PlanningGraph& graph, const CudnnHandle& handle, const CudnnProblem& problem,
                    const CudnnSearch& search) {
  const auto reason = [](fe::error_t status) {
    return status.is_bad() ? std::max(status.get_message(), std::string("refused")) : std::string();
  };
  if (std::string why = reason(graph.validate()); !why.empty()) return why;
  if (std::string why = reason(graph.build_operation_graph(raw(handle))); !why.empty()) return why;
  const std::vector<fe::HeurMode_t> modes = {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK};
  if (std::string why = reason(graph.create_execution_plans(modes)); !why.empty()) return why;

  // The same image gets the same verdict each time.
  std::vector<fe::NumericalNote_t> unwanted = {fe::NumericalNote_t::NONDETERMINISTIC};
  const bool fp32 =
      std::ranges::any_of(std::span(problem.inputs).first(2),
                          [](const CudnnTensor& input) { return input.type == DataType::fp32; });
  if (fp32) {
    unwanted.push_back(fe::NumericalNote_t::DOWN_CONVERT_INPUTS);
    unwanted.push_back(fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION);
    // Tensor cores take FP32 as TF32.
    if (!search.tf32) unwanted.push_back(fe::NumericalNote_t::TENSOR_CORE);
  }
  graph.deselect_numeric_notes(unwanted);
  graph.deselect_workspace_greater_than(static_cast<std::int64_t>(search.workspace_bytes_max));
  return {};
}

CudnnPlans graph_plans(const CudnnHandle& handle, const CudnnProblem& problem,
                       const CudnnSearch& search, std::string_view suffix) {
  PlanningGraph graph(problem);
  CudnnPlans found{{}, prepare(graph, handle, problem, search)};
  if (!found.refusal.empty()) return found;
  std::string first_complaint;
  for (std::int64_t i = 0; i < graph.plan_count() && std::ssize(found.plans) < search.plans_max;
       ++i) {
    std::string name;
    fe::error_t status = graph.get_plan_name_at_index(i, name);
    name += suffix;
    const auto same = [&](const CudnnPlan& plan) { return plan.name() == name; };
    if (status.is_good() && std::ranges::any_of(found.plans, same)) continue;
    if (status.is_good()) status = graph.build_plan_at_index(i);
    if (status.is_bad()) {
      if (first_complaint.empty()) first_complaint = name + ": " + status.get_message();
      continue;
    }
    found.plans.push_back(CudnnExecution::make(handle.context(), std::move(name), graph.plan(i),
                                               problem.inputs.size() + 1, problem.scalars));
  }
  if (found.plans.empty()) {
    found.refusal = fmt::format("none of its {} engine configurations can be used; {}",
                                graph.plan_count(), first_complaint);
  }
  return found;
}

Result<CudnnPlans> plan_problem(const CudnnHandle& handle, const CudnnProblem& problem,
                                const CudnnSearch& search) {
  const std::optional<CudnnProblem> extended = with_identity(problem);
  CudnnSearch part = search;
  if (extended) part.plans_max -= search.plans_max / 2;
  CudnnPlans found = graph_plans(handle, problem, part, "");
  part.plans_max = search.plans_max - static_cast<int>(found.plans.size());
  if (extended && part.plans_max > 0) {
    CudnnPlans more = graph_plans(handle, *extended, part, kIdentitySuffix);
    std::ranges::move(more.plans, std::back_inserter(found.plans));
    found.refusal += "; with an identity: " + more.refusal;
  }
  if (!found.plans.empty()) return CudnnPlans{std::move(found.plans), {}};
  // A refusal would be kept; a full or a lost device is none.
  Error error = error_of(*handle.context(), "cuDNN", found.refusal);
  if (error.kind != ErrorKind::internal) return std::unexpected(std::move(error));
  return found;
}

// What serialize() writes: three numbers, the scalars, and the library's own text.
constexpr std::uint32_t kCountMax = 16;

std::vector<std::byte> pack(const CudnnExecution& execution, bool identity,
                            const std::string& text) {
  const std::uint32_t counts[] = {static_cast<std::uint32_t>(execution.addresses),
                                  static_cast<std::uint32_t>(execution.scalars.size()),
                                  identity ? 1U : 0U};
  std::vector<std::byte> bytes;
  const auto append = [&](const auto& part) {
    const auto as_bytes = std::as_bytes(std::span(part));
    bytes.insert(bytes.end(), as_bytes.begin(), as_bytes.end());
  };
  append(counts);
  append(execution.scalars);
  append(text);
  return bytes;
}

struct Packed {
  std::size_t addresses = 0;
  std::vector<float> scalars;
  bool identity = false;
  std::string text;
};

std::optional<Packed> unpack(std::span<const std::byte> bytes) {
  std::uint32_t counts[3] = {};
  if (bytes.size() < sizeof(counts)) return std::nullopt;
  std::memcpy(counts, bytes.data(), sizeof(counts));
  bytes = bytes.subspan(sizeof(counts));
  if (counts[0] == 0 || counts[0] > kCountMax || counts[1] > kCountMax || counts[2] > 1) {
    return std::nullopt;
  }
  Packed packed{counts[0], std::vector<float>(counts[1]), counts[2] == 1, {}};
  const std::size_t scalar_bytes = packed.scalars.size() * sizeof(float);
  if (bytes.size() <= scalar_bytes) return std::nullopt;
  if (scalar_bytes > 0) std::memcpy(packed.scalars.data(), bytes.data(), scalar_bytes);
  bytes = bytes.subspan(scalar_bytes);
  packed.text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return packed;
}

// The library's version. Asked of it directly: the front end keeps the functions of the first library that it
// sees.
Result<std::size_t> check_library(const Library& library, int cuda_major_max) {
  const auto number = [&](const char* function) -> std::size_t {
    auto* const ask = reinterpret_cast<std::size_t (*)()>(library.symbol(function));
    return ask == nullptr ? 0 : ask();
  };
  const std::size_t version = number("cudnnGetVersion");
  if (version < kVersionMin) {
    return fail(ErrorKind::unavailable,
                fmt::format("{} is cuDNN {}, older than {}; {}", library.file().string(),
                            cudnn_version_text(version), cudnn_version_text(kVersionMin),
                            cudnn_library().remedy));
  }
  const auto cuda_major = static_cast<int>(number("cudnnGetCudartVersion") / 1000);
  if (cuda_major > cuda_major_max) {
    return fail(ErrorKind::unavailable, fmt::format("{} is for CUDA {}, the driver for CUDA {}; {}",
                                                    library.file().string(), cuda_major,
                                                    cuda_major_max, cudnn_library().remedy));
  }
  return version;
}

}  // namespace

std::string cudnn_version_text(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

Result<Cudnn> Cudnn::open(const LibrarySearch& search, int cuda_major_max) {
  static std::mutex mutex;
  static std::optional<Cudnn> opened;
  const std::lock_guard lock(mutex);
  if (opened) return *opened;
  Result<Library> library = open_library(cudnn_library(), search);
  if (!library) return std::unexpected(std::move(library).error());
  const Result<std::size_t> version = check_library(*library, cuda_major_max);
  if (!version) return std::unexpected(version.error());
  fe::cudnn_dlhandle = library->handle();
  return opened.emplace(Cudnn(library->file(), *version));
}

void CudnnHandle::Destroy::operator()(void* handle) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  (void)guarded(*context, "cudnnDestroy", [&]() -> Result<void> {
    fe::detail::destroy_handle(static_cast<cudnnHandle_t>(handle));
    return {};
  });
}

Result<CudnnHandle> CudnnHandle::create(const Cudnn& /*opened*/, const Stream& stream) {
  return make(stream);
}

Result<CudnnHandle> CudnnHandle::make(const Stream& stream) {
  std::shared_ptr<const Context> context = stream.context();
  if (Result<void> admitted = context->admit("cuDNN handle", 0); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  Result<Context::Scope> scope = context->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  const auto failed = [&](std::string_view call, cudnnStatus_t status) {
    return std::unexpected(error_of(*context, call, fe::detail::get_error_string(status)));
  };
  return guarded(*context, "cuDNN", [&]() -> Result<CudnnHandle> {
    cudnnHandle_t made = nullptr;
    if (const cudnnStatus_t status = fe::detail::create_handle(&made);
        status != CUDNN_STATUS_SUCCESS) {
      return failed("cudnnCreate", status);
    }
    CudnnHandle handle(std::unique_ptr<void, Destroy>(made, Destroy{context}));
    if (const cudnnStatus_t status = fe::detail::set_stream(made, stream.handle());
        status != CUDNN_STATUS_SUCCESS) {
      return failed("cudnnSetStream", status);
    }
    return handle;
  });
}

Result<void> CudnnPlan::run(const CudnnHandle& handle, std::span<const std::uint64_t> addresses,
                            DeviceSpan workspace) const {
  const CudnnExecution& execution = *execution_;
  if (addresses.size() != execution.addresses || workspace.bytes < workspace_bytes_) {
    return fail(
        ErrorKind::internal,
        fmt::format("cuDNN {}: needs {} addresses and a workspace of {} bytes, not {} and {}",
                    name_, execution.addresses, workspace_bytes_, addresses.size(),
                    workspace.bytes));
  }
  return guarded(*execution.context, name_, [&]() -> Result<void> {
    std::vector<void*> pointers;
    std::vector<std::int64_t> ids;
    const auto add = [&](void* pointer) {
      ids.push_back(tensor_id(pointers.size()));
      pointers.push_back(pointer);
    };
    for (const std::uint64_t address : addresses) add(reinterpret_cast<void*>(address));
    for (const float& scalar : execution.scalars) add(const_cast<float*>(&scalar));
    fe::error_t status = fe::detail::execute(raw(handle), execution.plan.get(), pointers, ids,
                                             reinterpret_cast<void*>(workspace.address));
    if (status.is_good()) return {};
    return std::unexpected(
        error_of(*execution.context, fmt::format("cuDNN {}", name_), status.get_message()));
  });
}

Result<std::vector<std::byte>> CudnnPlan::serialize() const {
  return guarded(*execution_->context, name_, [&]() -> Result<std::vector<std::byte>> {
    return pack(*execution_, name_.ends_with(kIdentitySuffix),
                execution_->plan->getJsonRepresentation());
  });
}

Result<CudnnPlan> CudnnPlan::restore(const CudnnHandle& handle, std::span<const std::byte> bytes) {
  std::optional<Packed> packed = unpack(bytes);
  if (!packed) return fail(ErrorKind::invalid_input, "the bytes are no plan of cuDNN's");
  Result<CudnnPlan> restored = guarded(*handle.context(), "cuDNN", [&]() -> Result<CudnnPlan> {
    std::shared_ptr<fe::ExecutionPlan> plan;
    fe::error_t status = fe::detail::create_cudnn_execution_plan(plan, packed->text, raw(handle),
                                                                 fe::CudaGraphRetention_t::NONE);
    if (status.is_bad()) {
      return std::unexpected(error_of(*handle.context(), "cuDNN", status.get_message()));
    }
    std::string name = plan->getTag();
    if (packed->identity) name += kIdentitySuffix;
    return CudnnExecution::make(handle.context(), std::move(name), std::move(plan),
                                packed->addresses, std::move(packed->scalars));
  });
  if (!restored && restored.error().kind == ErrorKind::internal) {
    return fail(ErrorKind::invalid_input,
                fmt::format("the library doesn't take the plan: {}", restored.error().message));
  }
  return restored;
}

Result<CudnnPlans> cudnn_plans(const CudnnHandle& handle, const Step& step,
                               const CudnnSearch& search) {
  Result<CudnnProblem> problem = cudnn_problem(step);
  if (!problem) return CudnnPlans{{}, std::move(problem).error().message};
  // Seen with 9.19 on an H200: they round to TF32 whatever numerical notes are refused.
  const bool product = std::holds_alternative<graph::MatMul>(step.ops.front().op);
  if (product && !search.tf32 && step.inputs.front().type == DataType::fp32) {
    return CudnnPlans{{}, "cuDNN's matrix products round FP32 to TF32"};
  }
  return guarded(*handle.context(), "cuDNN",
                 [&] { return plan_problem(handle, *problem, search); });
}

}  // namespace takt::cuda
