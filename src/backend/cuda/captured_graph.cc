// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/captured_graph.h"

#include "backend/cuda/driver_functions.h"

#include <utility>

namespace takt::cuda {
namespace {

struct DestroyGraph {
  const Context* context;
  void operator()(CUgraph_st* graph) const noexcept {
    give_back(context->driver(), &DriverFunctions::graph_destroy, graph);
  }
};
using Graph = std::unique_ptr<CUgraph_st, DestroyGraph>;

// Capturing ends whatever `queue_work` says or throws: the stream must run work again afterwards.
Result<Graph> record(const Stream& stream, const std::function<Result<void>()>& queue_work) {
  const Context& context = *stream.context();
  Result<void> done = invoke(context.driver(), &DriverFunctions::stream_begin_capture,
                             stream.handle(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  if (!done) return std::unexpected(std::move(done).error());
  CUgraph recorded = nullptr;
  const auto end = [&] {
    return invoke(context.driver(), &DriverFunctions::stream_end_capture, stream.handle(),
                  &recorded);
  };
  Result<void> queued;
  try {
    queued = queue_work();
  } catch (...) {
    done = end();
    const Graph unused(recorded, {&context});
    throw;
  }
  done = end();
  Graph graph(recorded, {&context});
  if (!queued) return std::unexpected(std::move(queued).error());
  if (!done) return std::unexpected(std::move(done).error());
  return graph;
}

}  // namespace

void CapturedGraph::Destroy::operator()(CUgraphExec_st* graph) const noexcept {
  const Result<Context::Scope> scope = context->enter();
  give_back(context->driver(), &DriverFunctions::graph_exec_destroy, graph);
}

Result<CapturedGraph> CapturedGraph::capture(const Stream& stream,
                                             const std::function<Result<void>()>& queue_work) {
  const std::shared_ptr<const Context>& context = stream.context();
  if (Result<void> admitted = context->admit("graph", 0); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  Result<Graph> graph = record(stream, queue_work);
  if (!graph) return std::unexpected(std::move(graph).error());
  std::size_t count = 0;
  CUgraphNode* const only_count = nullptr;
  Result<void> done = invoke(context->driver(), &DriverFunctions::graph_get_nodes, graph->get(),
                             only_count, &count);
  CUgraphExec made = nullptr;
  if (done) {
    done = invoke(context->driver(), &DriverFunctions::graph_instantiate, &made, graph->get(),
                  cuuint64_t{0});
  }
  if (!done) return std::unexpected(std::move(done).error());
  CapturedGraph captured({made, Destroy{context}}, count);
  // Now rather than with the first launch, so that a launch takes no memory.
  done = invoke(context->driver(), &DriverFunctions::graph_upload, made, stream.handle());
  if (!done) return std::unexpected(std::move(done).error());
  return captured;
}

Result<void> CapturedGraph::launch(const Stream& stream) const {
  return invoke(handle_.get_deleter().context->driver(), &DriverFunctions::graph_launch,
                handle_.get(), stream.handle());
}

}  // namespace takt::cuda
