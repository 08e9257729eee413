// SPDX-License-Identifier: Apache-2.0
// One call of a client, whatever its method: reads its messages, answers them, and withdraws what the
// client no longer waits for.
// Thread-safe: gRPC's events come on the poller's thread, answers of slow methods from others. Private
// to server/grpc.
// Owns: a call itself; it goes when gRPC has done with it.
#pragma once

#include "core/time.h"
#include "server/grpc/grpc_server.h"
#include "server/grpc/methods.h"
#include "server/grpc/poller.h"
#include "server/infer_service.h"

#include <boost/asio/thread_pool.hpp>
#include <grpcpp/generic/async_generic_service.h>

#include <atomic>
#include <cstddef>
#include <list>
#include <memory>
#include <utility>

namespace takt::server::rpc {

// A call that hasn't sent its message yet.
class AwaitedCall {
 public:
  AwaitedCall() = default;
  virtual ~AwaitedCall() = default;
  AwaitedCall(const AwaitedCall&) = delete;
  AwaitedCall& operator=(const AwaitedCall&) = delete;
  virtual void give_up() = 0;
  TimePoint until;
};

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
  std::atomic<bool> closed{false};   // no further calls are waited for
  boost::asio::thread_pool slow{2};  // for methods that take long
  ::grpc::AsyncGenericService calls_service;
  std::list<AwaitedCall*>
      awaited;  // whose message hasn't come; of the poller's thread, oldest first
  std::unique_ptr<Poller> poller;  // from before the server's start until after its end
};

// Ends calls whose message is overdue. On the poller's thread.
void sweep(Shared& shared);

// Waits for one more call; each that comes opens the next place.
void open_place(Shared& shared);

}  // namespace takt::server::rpc
