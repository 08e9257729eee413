// SPDX-License-Identifier: Apache-2.0
// One call of a client, whatever its method: reads its messages, answers them, and withdraws what the
// client no longer waits for.
// Thread-safe: as gRPC's callbacks need it. Private to server/grpc.
// Owns: a call itself; gRPC tells it when to go.
#pragma once

#include "core/time.h"
#include "server/grpc/grpc_server.h"
#include "server/grpc/methods.h"
#include "server/infer_service.h"

#include <boost/asio/thread_pool.hpp>
#include <grpcpp/generic/async_generic_service.h>

#include <atomic>
#include <cstddef>
#include <utility>

namespace takt::server::rpc {

// What all calls of a server use.
struct Shared {
  Shared(GrpcOptions grpc_options, InferService& infer_service, Services all_services,
         const Clock& steady)
      : options(std::move(grpc_options)),
        service(infer_service),
        services(std::move(all_services)),
        clock(steady) {}

  const GrpcOptions options;
  InferService& service;
  const Services services;
  const Clock& clock;
  std::atomic<std::size_t> calls{0};
  std::atomic<int> slow_waiting{0};
  boost::asio::thread_pool slow{2};  // for methods that take long
  // Writes answers, so that the engine's threads don't: sending a large one takes a while.
  boost::asio::thread_pool answers{1};
};

[[nodiscard]] ::grpc::ServerGenericBidiReactor* make_call(
    Shared& shared, ::grpc::GenericCallbackServerContext& context);

}  // namespace takt::server::rpc
