// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/module.h"

#include "backend/cuda/driver_functions.h"

#include <utility>
#include <vector>

namespace takt::cuda {

Result<void> Kernel::launch_with_addresses(const Stream& stream, const LaunchShape& shape,
                                           std::span<const std::uint64_t> addresses) const {
  std::vector<void*> places;
  for (const std::uint64_t& address : addresses) {
    places.push_back(const_cast<std::uint64_t*>(&address));
  }
  places.push_back(nullptr);
  return launch_with(stream, shape, places.data());
}

Result<void> Kernel::launch_with(const Stream& stream, const LaunchShape& shape,
                                 void** arguments) const {
  const Extent& grid = shape.grid;
  const Extent& block = shape.block;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};  // of a tensor without elements
  void** const no_extra = nullptr;
  return invoke(stream.context()->driver(), &DriverFunctions::launch_kernel, function_, grid.x,
                grid.y, grid.z, block.x, block.y, block.z, shape.shared_bytes, stream.handle(),
                arguments, no_extra);
}

Result<Module> Module::load(std::shared_ptr<const Context> context,
                            std::span<const std::byte> cubin) {
  if (Result<void> admitted = context->admit("module", cubin.size()); !admitted) {
    return std::unexpected(std::move(admitted).error());
  }
  Result<Context::Scope> scope = context->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  CUmodule made = nullptr;
  const void* const image = cubin.data();
  Result<void> done = invoke(context->driver(), &DriverFunctions::module_load_data, &made, image);
  if (!done) return std::unexpected(std::move(done).error());
  const auto unload = [context](CUmod_st* module) noexcept {
    const Result<Context::Scope> inside = context->enter();
    give_back(context->driver(), &DriverFunctions::module_unload, module);
  };
  return Module(context, std::shared_ptr<CUmod_st>(made, unload));
}

Result<Kernel> Module::kernel(const std::string& name) const {
  Result<Context::Scope> scope = context_->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  CUfunction found = nullptr;
  Result<void> done = invoke(context_->driver(), &DriverFunctions::module_get_function, &found,
                             handle_.get(), name.c_str());
  if (!done) return std::unexpected(std::move(done).error().within("kernel " + name));
  return Kernel(handle_, found);
}

}  // namespace takt::cuda
