// sdkit-conformance: holds this host against the Python runtime.
//
//   golden FOLDER          every result of a conformance set (tests/conformance), within the tolerances it states
//   open BUNDLE            opens a bundle and its graphs
//   mistakes BUNDLE        the messages of calls that must be refused, one a line; the bundle is one of uint8 images
//   --contract             prints the contract of graphs, tensors, verbs and kinds that it follows, as JSON
//   speed BUNDLE B T N     encodes B sequences of T elements N times and tells each time's seconds, one a line

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "programs.hpp"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using sdkit::Shape;
using sdkit::Tensor;

template <typename T>
std::vector<T> read_values(const fs::path& folder, const Json& about) {
    std::ifstream stream(folder / about.at("file").get<std::string>(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    std::vector<T> values(bytes.size() / sizeof(T));
    std::copy_n(bytes.data(), values.size() * sizeof(T), reinterpret_cast<char*>(values.data()));
    return values;
}

Tensor read(const fs::path& folder, const Json& about) {
    const Shape shape = about.at("shape").get<Shape>();
    if (about.at("dtype") == "uint8") return {shape, read_values<std::uint8_t>(folder, about)};
    return {shape, read_values<float>(folder, about)};
}

std::uint64_t number(const Json& text) { return std::stoull(text.get<std::string>()); }

std::vector<double> doubles(const Tensor& x) {
    if (x.dtype() == sdkit::DType::uint8) return {x.bytes().begin(), x.bytes().end()};
    return {x.floats().begin(), x.floats().end()};
}

// Prints the largest difference and returns whether every value is within the tolerance.
bool compare(const std::string& name, const Tensor& found, const Tensor& wanted, double atol, double rtol) {
    double largest = 0;
    bool fits = found.shape() == wanted.shape() && found.dtype() == wanted.dtype();
    if (fits) {
        const std::vector<double> a = doubles(found), b = doubles(wanted);
        for (std::size_t i = 0; i < a.size(); ++i) {
            const double difference = std::abs(a[i] - b[i]);
            fits = fits && difference <= atol + rtol * std::abs(b[i]);  // false of NaN
            largest = std::max(largest, difference);
        }
    }
    std::printf("%-4s %-32s largest difference %.2e, allowed %.3g + %.3g |value|\n", fits ? "ok" : "BAD", name.c_str(),
                largest, atol, rtol);
    return fits;
}

// Prints whether something that knows no tolerance is right.
void report(bool exact, const std::string& name) {
    const double difference = exact ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    std::printf("%-4s %-32s largest difference %.2e, allowed none\n", exact ? "ok" : "BAD", name.c_str(), difference);
}

bool check_noise(const fs::path& folder, const std::string& name, const Json& about) {
    const std::uint64_t seed = number(about.at("seed")), first = number(about.at("first"));
    const auto purpose = about.at("purpose").get<sdkit::Purpose>();
    const auto raw = read_values<std::uint64_t>(folder, about.at("raw"));
    bool exact = !raw.empty();
    for (std::size_t i = 0; i < raw.size(); ++i) {
        exact = exact &&
                sdkit::philox({seed, static_cast<std::uint64_t>(purpose)}, {i / 4 + 1, first, 0, 0})[i % 4] == raw[i];
    }
    report(exact, name + " raw");
    const Tensor wanted = read(folder, about.at("normal"));
    const Tensor drawn = sdkit::standard_normal(seed, purpose, first, wanted.shape());
    return compare(name + " normal", drawn, wanted, 1e-6, 0) && exact;
}

// One element of every sequence of x, (B, T, *element): (B, *element).
Tensor element_of(const Tensor& x, std::int64_t step) {
    Shape flat = x.shape(), shape = x.shape();
    flat.erase(flat.begin(), flat.begin() + 2);
    flat.insert(flat.begin(), x.axis(0) * x.axis(1));
    shape.erase(shape.begin() + 1);
    const auto take = [&](const auto& values) {
        const Tensor rows(flat, values);
        std::vector<Tensor> parts;
        for (std::int64_t i = 0; i < x.axis(0); ++i)
            parts.push_back(rows.rows(i * x.axis(1) + step, i * x.axis(1) + step + 1));
        return Tensor::join(parts);
    };
    return x.dtype() == sdkit::DType::uint8 ? take(x.bytes()) : take(x.floats());
}

// (B, ...) of every step as (B, T, ...).
Tensor stacked(const std::vector<Tensor>& steps) {
    Shape shape = steps.front().shape();
    shape.insert(shape.begin() + 1, static_cast<std::int64_t>(steps.size()));
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape[0]; ++i) {
        for (const Tensor& step : steps) {
            const Tensor row = step.rows(i, i + 1);
            values.insert(values.end(), row.floats().begin(), row.floats().end());
        }
    }
    return {shape, std::move(values)};
}

// Results of live streams into which x is pushed element by element; some streams begin anew after some pushes.
void stream_results(const sdkit::Runtime& rt, const Tensor& x, const std::string& name,
                    const std::vector<std::int64_t>& reset, std::int64_t after, std::map<std::string, Tensor>& found) {
    sdkit::Stream stream = rt.stream(x.axis(0));
    std::vector<Tensor> dynamics, decoded;
    for (std::int64_t t = 0; t < x.axis(1); ++t) {
        if (t == after) stream.reset(reset);
        const sdkit::Step step = stream.push(element_of(x, t));
        found[name + "/static"] = step.static_;
        dynamics.push_back(step.dynamic);
        decoded.push_back(step.x);
    }
    found[name + "/dynamic"] = stacked(dynamics);
    found[name + "/x"] = stacked(decoded);
}

// Sequences or codes of a shape, all of one value.
Tensor filled(const Shape& shape, float value = 0) {
    std::size_t size = 1;
    for (const std::int64_t axis : shape) size *= static_cast<std::size_t>(axis);
    return {shape, std::vector<float>(size, value)};
}

Tensor pixels(const Shape& shape) {
    const std::vector<float> zeros = filled(shape).floats();
    return {shape, std::vector<std::uint8_t>(zeros.begin(), zeros.end())};
}

// Sequences (batch, steps, *element) of zeros.
Tensor zeros(const sdkit::Element& element, std::int64_t batch, std::int64_t steps) {
    Shape shape = element.shape;
    shape.insert(shape.begin(), {batch, steps});
    return element.dtype == sdkit::DType::uint8 ? pixels(shape) : filled(shape);
}

using Results = std::map<std::string, Tensor>;

// A bundle of the set, and what its verbs are given.
struct Case {
    const sdkit::Runtime& rt;
    fs::path folder;
    Json about;

    Tensor input(const char* name) const { return read(folder, about.at("inputs").at(name)); }
    std::uint64_t seed() const { return number(about.at("seed")); }
    std::uint64_t first() const { return number(about.at("first")); }
};

void decode_results(const Case& given, Results& found) {
    for (auto& [name, tensor] : given.rt.decode_outputs({given.input("static"), given.input("dynamic")}))
        found["decode()/" + name] = tensor;
    found["cast()/x"] = given.rt.element().cast(read(given.folder, given.about.at("outputs").at("decode()/x")));
}

void encode_results(const Case& given, Results& found) {
    const sdkit::Codes codes = given.rt.encode(given.input("x"));
    const sdkit::Codes sampled = given.rt.encode(given.input("x"), given.seed(), given.first());
    found["encode()/static"] = codes.static_, found["encode()/dynamic"] = codes.dynamic;
    found["encode(seed)/static"] = sampled.static_, found["encode(seed)/dynamic"] = sampled.dynamic;
}

void streams_results(const Case& given, Results& found) {
    const Json& reset = given.about.at("reset");
    stream_results(given.rt, given.input("x"), "stream()", {}, 0, found);
    stream_results(given.rt, given.input("x"), "stream(reset)", reset.at("rows").get<std::vector<std::int64_t>>(),
                   reset.at("after"), found);
}

// What gives the results of each verb.
const std::map<std::string, std::function<void(const Case&, Results&)>> runners = {
    {"encode", encode_results},
    {"decode", decode_results},
    {"reconstruct", [](const Case& c, Results& found) { found["reconstruct()/x"] = c.rt.reconstruct(c.input("x")); }},
    {"swap",
     [](const Case& c, Results& found) {
         std::tie(found["swap()/a_with_b"], found["swap()/b_with_a"]) = c.rt.swap(c.input("x"), c.input("other"));
     }},
    {"generate",
     [](const Case& c, Results& found) {
         found["generate()/x"] = c.rt.generate(c.about.at("count"), c.about.at("steps"), c.seed(), c.first());
     }},
    {"resample_static",
     [](const Case& c, Results& found) {
         found["resample_static()/x"] = c.rt.resample_static(c.input("x"), c.seed(), c.first());
     }},
    {"resample_dynamic",
     [](const Case& c, Results& found) {
         found["resample_dynamic()/x"] = c.rt.resample_dynamic(c.input("x"), c.seed(), c.first());
     }},
    {"stream", streams_results},
};

// Whether a call is refused with an error of a class, in these words.
template <typename Refusal>
bool refused(const std::string& what, const std::string& words, const std::function<void()>& call) {
    std::string said = "nothing, and ran";
    try {
        call();
    } catch (const Refusal& error) {
        said = error.what();
    }
    if (said != words) std::printf("     %s says: %s\n     instead of: %s\n", what.c_str(), said.c_str(), words.c_str());
    return said == words;
}

// Holds what is refused against the words of the set: verbs that the model has not, and more steps than it draws.
bool check_refusals(const std::string& name, const Case& given) {
    bool good = true;
    Results none;
    for (const auto& [verb, words] : given.about.at("refused").items()) {
        const auto call = [&, &runner = runners.at(verb)] { runner(given, none); };
        good = refused<sdkit::CapabilityError>(verb, words, call) && good;
    }
    if (given.about.contains("limit")) {
        const std::string words = given.about.at("limit").at("message");
        const std::int64_t steps = given.about.at("limit").at("steps");
        const auto generate = [&] { given.rt.generate(1, steps); };
        const auto resample = [&] { given.rt.resample_dynamic(zeros(given.rt.element(), 1, steps)); };
        good = refused<sdkit::ConfigError>("generate", words, generate) && good;
        if (given.rt.abilities().refusals.count("resample_dynamic") == 0)
            good = refused<sdkit::ConfigError>("resample_dynamic", words, resample) && good;
    }
    report(good, name + " refusals");
    return good;
}

// Holds a bundle's results and refusals against those of the set.
bool check_bundle(const std::string& name, const Case& given) {
    bool good = true;
    Results found;
    for (const std::string& verb : given.rt.abilities().verbs()) runners.at(verb)(given, found);
    for (const auto& [result, about] : given.about.at("outputs").items()) {
        const auto value = found.find(result);
        const Tensor missing;
        good = compare(name + " " + result, value == found.end() ? missing : value->second, read(given.folder, about),
                       about.at("atol"), about.at("rtol")) &&
               good;
    }
    return check_refusals(name, given) && good;
}

int golden(const fs::path& folder) {
    std::ifstream stream(folder / "golden.json");
    const Json about = Json::parse(stream);
    bool good = true;
    const Json& noises = about.at("noise");
    for (std::size_t i = 0; i < noises.size(); ++i)
        good = check_noise(folder, "noise" + std::to_string(i), noises[i]) && good;
    for (const auto& [name, bundle] : about.at("bundles").items()) {
        for (const std::int64_t batch_size : {1, 2, 64}) {
            sdkit::Options options;
            options.threads = 1;
            options.batch_size = batch_size;
            const sdkit::Runtime rt = open_runtime(folder / bundle.at("folder").get<std::string>(), options);
            good = check_bundle(name, {rt, folder, bundle}) && good;
        }
    }
    return good ? 0 : 1;
}

int open(const fs::path& bundle) {
    const sdkit::Runtime rt = open_runtime(bundle, {});
    std::cout << rt.element().describe() << '\n';
    return 0;
}

// Begins a stream of a model that cannot run online.
void stream_refused(const sdkit::Runtime& rt, const std::string& reason) {
    sdkit::Manifest changed = rt.manifest();
    changed.abilities.refusals["stream"] = reason;
    sdkit::Stream(changed, rt.backend(), 0);
}

int mistakes(const fs::path& bundle) {
    const sdkit::Runtime rt = open_runtime(bundle, {});
    const Shape e = rt.element().shape;
    const std::int64_t s = rt.manifest().widths.static_size, d = rt.manifest().widths.dynamic_size;
    const auto clips = [&](std::int64_t batch, std::int64_t steps) { return Shape{batch, steps, e[0], e[1], e[2]}; };
    const sdkit::Element image{"image", {1, 1, 2}, sdkit::DType::float32, {}, {}};
    const sdkit::Element series{"series", {2, 1}, sdkit::DType::float32, {}, {}};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<std::function<void()>> calls = {
        [&] { rt.encode(filled(clips(1, 2))); },
        [&] { rt.encode(pixels({1, 2, e[0], e[1], e[2] + 1})); },
        [&] { rt.encode(pixels({2})); },
        [&] { rt.encode(pixels(clips(1, 1))); },
        [&] { rt.encode(pixels(clips(0, 3))); },
        [&] { rt.swap(pixels(clips(2, 2)), pixels(clips(1, 2))); },
        [&] { rt.generate(0, 5); },
        [&] { rt.generate(1, 1); },
        [&] { rt.decode({filled({1, s + 1}), filled({1, 2, d})}); },
        [&] { rt.decode({filled({2, s}), filled({1, 2, d})}); },
        [&] { rt.decode({filled({1, s}), filled({1, 1, d})}); },
        [&] { rt.decode({pixels({1, s}), filled({1, 2, d})}); },
        [&] { image.check({{1, 2, 1, 1, 2}, std::vector<float>{0, 0, 1, nan}}); },
        [&] { image.check({{1, 2, 1, 1, 2}, std::vector<float>{-0.5F, 0, 1.25F, 0}}, "a file"); },
        [&] { series.check(filled({1, 2, 2, 1}, std::numeric_limits<float>::infinity())); },
        [&] { sdkit::Runtime(sdkit::Bundle::open(bundle), nullptr, 0); },
        [&] { rt.stream(0); },
        [&] { rt.stream(2).push(pixels({1, e[0], e[1], e[2]})); },
        [&] { rt.stream(1).push(filled({1, e[0], e[1], e[2]})); },
        [&] { rt.stream(2).reset({2}); },
        [&] { stream_refused(rt, "it sees the future"); },
        [&] { sdkit::Abilities{"some", {}, 3}.require_steps(4); },
    };
    sdkit::Abilities{"some", {}, 3}.require_steps(3);
    series.check(filled({1, 2, 2, 1}, nan));  // "not observed"
    const Tensor values = filled({1, 2, 3}, 7);
    const sdkit::Element vector{"vector", {3}, sdkit::DType::float32, {}, {}};
    vector.check(filled({1, 2, 3}, nan));
    if (vector.cast(values).floats() != values.floats()) throw sdkit::Error("values of a vector were changed");
    for (const auto& call : calls) {
        try {
            call();
            std::cout << "was not refused\n";
        } catch (const sdkit::Error& error) {
            std::cout << error.what() << '\n';
        }
    }
    return 0;
}

int speed(const fs::path& bundle, std::int64_t batch, std::int64_t steps, int repeats) {
    sdkit::Options options;
    options.batch_size = batch;
    const sdkit::Runtime rt = open_runtime(bundle, options);
    const Tensor x = zeros(rt.element(), batch, steps);
    rt.encode(x);  // the first call makes the library's plans
    for (int i = 0; i < repeats; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        rt.encode(x);
        std::printf("%.6f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return 0;
}

int run(const std::vector<std::string>& words) {
    const std::string command = words.empty() ? "" : words[0];
    if (command == "--contract" && words.size() == 1) {
        std::cout << sdkit::contract() << '\n';
        return 0;
    }
    if (command == "golden" && words.size() == 2) return golden(words[1]);
    if (command == "open" && words.size() == 2) return open(words[1]);
    if (command == "mistakes" && words.size() == 2) return mistakes(words[1]);
    if (command == "speed" && words.size() == 5) {
        return speed(words[1], std::stoll(words[2]), std::stoll(words[3]), std::stoi(words[4]));
    }
    throw sdkit::ConfigError(
        "usage: sdkit-conformance golden FOLDER | open BUNDLE | mistakes BUNDLE | --contract | speed BUNDLE B T N");
}

}  // namespace

int main(int argc, char** argv) {
    return guarded([&] { return run({argv + 1, argv + argc}); });
}
