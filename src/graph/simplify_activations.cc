// SPDX-License-Identifier: Apache-2.0
// Activations and normalisations that exporters spell out in arithmetic.
#include "graph/constants.h"
#include "graph/simplify_rules.h"

#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace takt::graph {
namespace {

using Ids = std::span<const ValueId>;

constexpr int kDepthMax = 4;         // of an activation's products
constexpr double kTolerance = 1e-4;  // of a number that an exporter has rounded

// Of what no binary number is exactly; 1, 0.5 and other such factors must be exact.
bool near(double found, double expected) {
  return std::abs(found - expected) <= kTolerance * std::abs(expected);
}

// A product taken apart: scale * factors[0] * factors[1] * ...
struct Product {
  double scale = 1;
  std::vector<ValueId> factors;
};

void take_apart(const Rewriter& rewriter, ValueId id, Product& product, int depth = 0) {
  const auto* const binary = rewriter.producer<Binary>(id);
  const bool splits = binary != nullptr && depth < kDepthMax &&
                      (binary->kind == BinaryKind::mul || binary->kind == BinaryKind::div);
  if (!splits) {
    product.factors.push_back(id);
    return;
  }
  const ValueId a = rewriter.inputs(id)[0];
  const ValueId b = rewriter.inputs(id)[1];
  const std::optional<double> number = rewriter.number(b);
  if (number && *number != 0) {
    product.scale *= binary->kind == BinaryKind::mul ? *number : 1 / *number;
    return take_apart(rewriter, a, product, depth + 1);
  }
  if (binary->kind == BinaryKind::div) {
    product.factors.push_back(id);
    return;
  }
  if (const std::optional<double> first = rewriter.number(a)) {
    product.scale *= *first;
    return take_apart(rewriter, b, product, depth + 1);
  }
  take_apart(rewriter, a, product, depth + 1);
  take_apart(rewriter, b, product, depth + 1);
}

Product product_of(const Rewriter& rewriter, ValueId id) {
  Product product;
  take_apart(rewriter, id, product);
  return product;
}

// The other side of a sum with this number.
std::optional<ValueId> added_to(const Rewriter& rewriter, ValueId sum, double number) {
  const auto* const binary = rewriter.producer<Binary>(sum);
  if (binary == nullptr || binary->kind != BinaryKind::add) return {};
  const std::vector<ValueId>& sides = rewriter.inputs(sum);
  if (rewriter.is_number(sides[1], number)) return sides[0];
  if (rewriter.is_number(sides[0], number)) return sides[1];
  return {};
}

bool is_scaled(const Rewriter& rewriter, ValueId id, double scale, ValueId x) {
  const Product product = product_of(rewriter, id);
  return product.factors == std::vector{x} && near(product.scale, scale);
}

bool is_cube(const Rewriter& rewriter, ValueId id, ValueId x) {
  const auto* const power = rewriter.producer<Binary>(id);
  if (power != nullptr && power->kind == BinaryKind::pow) {
    return rewriter.inputs(id)[0] == x && rewriter.is_number(rewriter.inputs(id)[1], 3);
  }
  const Product product = product_of(rewriter, id);
  return product.factors == std::vector{x, x, x} && product.scale == 1;
}

// x + 0.044715 * x^3 (Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2)
bool is_gelu_polynomial(const Rewriter& rewriter, ValueId id, ValueId x) {
  const auto* const sum = rewriter.producer<Binary>(id);
  if (sum == nullptr || sum->kind != BinaryKind::add) return false;
  const std::vector<ValueId>& sides = rewriter.inputs(id);
  if (sides[0] != x && sides[1] != x) return false;
  const ValueId other = sides[0] == x ? sides[1] : sides[0];
  const Product product = product_of(rewriter, other);
  if (!near(product.scale, 0.044715)) return false;
  if (product.factors == std::vector{x, x, x}) return true;
  return product.factors.size() == 1 && is_cube(rewriter, product.factors.front(), x);
}

// What scale * x * gate is.
std::optional<Unary> gated(const Rewriter& rewriter, double scale, ValueId x, ValueId gate) {
  if (scale == 1) {
    if (rewriter.unary_input(gate, UnaryKind::sigmoid) == x) return Unary{UnaryKind::silu, 1};
    const auto* const unary = rewriter.producer<Unary>(gate);
    if (unary != nullptr && unary->kind == UnaryKind::hard_sigmoid && near(unary->alpha, 1.0 / 6) &&
        unary->beta == 0.5 && rewriter.inputs(gate)[0] == x) {
      return Unary{UnaryKind::hard_swish};
    }
    const auto inner = rewriter.unary_input(gate, UnaryKind::tanh);
    if (inner && rewriter.unary_input(*inner, UnaryKind::softplus) == x)
      return Unary{UnaryKind::mish};
  }
  const auto* const clip = rewriter.producer<Unary>(gate);
  if (clip != nullptr && clip->kind == UnaryKind::clip && clip->alpha == 0 && clip->beta == 6 &&
      near(scale, 1.0 / 6) && added_to(rewriter, rewriter.inputs(gate)[0], 3) == x) {
    return Unary{UnaryKind::hard_swish};
  }
  const std::optional<ValueId> bent = added_to(rewriter, gate, 1);
  if (!bent || scale != 0.5) return {};
  if (const auto inner = rewriter.unary_input(*bent, UnaryKind::erf)) {
    if (is_scaled(rewriter, *inner, 1 / std::numbers::sqrt2, x)) return Unary{UnaryKind::gelu};
  }
  if (const auto inner = rewriter.unary_input(*bent, UnaryKind::tanh)) {
    const Product product = product_of(rewriter, *inner);
    if (near(product.scale, std::sqrt(2 / std::numbers::pi)) && product.factors.size() == 1 &&
        is_gelu_polynomial(rewriter, product.factors.front(), x)) {
      return Unary{UnaryKind::gelu_tanh};
    }
  }
  return {};
}

// The product that `op` would compute.
std::optional<Product> product_of(const Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr) return {};
  if (binary->kind == BinaryKind::div) {
    const std::optional<double> number = rewriter.number(inputs[1]);
    if (!number || *number == 0) return {};
    Product product = product_of(rewriter, inputs[0]);
    product.scale /= *number;
    return product;
  }
  if (binary->kind != BinaryKind::mul) return {};
  Product product;
  for (const ValueId id : inputs) {
    if (const std::optional<double> number = rewriter.number(id)) {
      product.scale *= *number;
    } else {
      take_apart(rewriter, id, product);
    }
  }
  return product;
}

Rewritten recognise_activations(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const std::optional<Product> product = product_of(rewriter, op, inputs);
  if (!product || product->factors.size() != 2) return {};
  const auto [a, b] = std::pair(product->factors[0], product->factors[1]);
  if (rewriter.type(a) != rewriter.type(b)) return {};
  std::optional<Unary> activation = gated(rewriter, product->scale, a, b);
  const ValueId x = activation ? a : b;
  if (!activation) activation = gated(rewriter, product->scale, b, a);
  if (!activation) return {};
  Result<ValueId> added = rewriter.builder().add(*activation, {x});
  if (!added) return std::unexpected(std::move(added).error());
  return *added;
}

// The first of the axes that a mean is taken over, if they are all from there to the last.
std::optional<int> trailing_axis(const Rewriter& rewriter, ValueId mean) {
  const auto* const reduce = rewriter.producer<Reduce>(mean);
  if (reduce == nullptr || reduce->kind != ReduceKind::mean || reduce->axes.empty()) return {};
  const auto rank = static_cast<int>(rewriter.shape(mean).size());
  const int first = rank - static_cast<int>(reduce->axes.size());
  return reduce->axes.front() == first ? std::optional(first) : std::nullopt;
}

// x of x - mean(x), over the axes from `axis` on.
std::optional<ValueId> centred(const Rewriter& rewriter, ValueId id, int axis) {
  const auto* const binary = rewriter.producer<Binary>(id);
  if (binary == nullptr || binary->kind != BinaryKind::sub) return {};
  const ValueId x = rewriter.inputs(id)[0];
  const ValueId mean = rewriter.inputs(id)[1];
  if (trailing_axis(rewriter, mean) != axis || rewriter.inputs(mean)[0] != x) return {};
  return x;
}

struct Deviation {
  ValueId x;
  int axis = 0;
  double epsilon = 0;
};

// sqrt(mean((x - mean(x))^2) + epsilon)
std::optional<Deviation> deviation(const Rewriter& rewriter, ValueId id) {
  const auto sum = rewriter.unary_input(id, UnaryKind::sqrt);
  if (!sum) return {};
  const auto* const add = rewriter.producer<Binary>(*sum);
  if (add == nullptr || add->kind != BinaryKind::add) return {};
  const std::vector<ValueId>& sides = rewriter.inputs(*sum);
  const std::optional<double> epsilon = rewriter.number(sides[1]);
  const std::optional<int> axis = trailing_axis(rewriter, sides[0]);
  if (!epsilon || !axis) return {};
  const ValueId squares = rewriter.inputs(sides[0])[0];
  const auto* const product = rewriter.producer<Binary>(squares);
  if (product == nullptr || product->kind != BinaryKind::mul) return {};
  const ValueId difference = rewriter.inputs(squares)[0];
  if (rewriter.inputs(squares)[1] != difference) return {};
  const auto x = centred(rewriter, difference, *axis);
  if (!x) return {};
  return Deviation{*x, *axis, *epsilon};
}

Rewritten recognise_layer_norms(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr || binary->kind != BinaryKind::div) return {};
  const std::optional<Deviation> found = deviation(rewriter, inputs[1]);
  if (!found || centred(rewriter, inputs[0], found->axis) != found->x) return {};
  const TensorType& type = rewriter.type(found->x);
  const Shape block(type.shape.begin() + found->axis, type.shape.end());
  GraphBuilder& builder = rewriter.builder();
  const DataType data = type.type;
  const ValueId one = builder.add_constant(scalar_of(data, 1));
  Result<ValueId> scale = builder.add(Expand{block}, {one});
  if (!scale) return std::unexpected(std::move(scale).error());
  Result<ValueId> added = builder.add(LayerNorm{found->axis, found->epsilon}, {found->x, *scale});
  if (!added) return std::unexpected(std::move(added).error());
  return *added;
}

constexpr std::array<Rule, 2> kRules{&recognise_activations, &recognise_layer_norms};

}  // namespace

std::span<const Rule> activation_rules() {
  return kRules;
}

}  // namespace takt::graph
