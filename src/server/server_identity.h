// SPDX-License-Identifier: Apache-2.0
// What a server says that it is.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace takt::server {

struct ServerIdentity {
  std::string name = "takt";
  std::string version;
};

// Of the Open Inference Protocol, by the names that its clients look for.
inline constexpr std::array<std::string_view, 11> kExtensions{"classification",
                                                              "model_repository",
                                                              "schedule_policy",
                                                              "model_configuration",
                                                              "system_shared_memory",
                                                              "cuda_shared_memory",
                                                              "binary_tensor_data",
                                                              "parameters",
                                                              "statistics",
                                                              "trace",
                                                              "logging"};

}  // namespace takt::server
