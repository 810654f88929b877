// A Dapr sidecar for the tests: the runtime of daprd with the components that they use and no
// others. The official binary brings a hundred, and takes many times as long to compile.
package main

import (
	"context"
	"fmt"
	"os"

	"go.opencensus.io/stats/view"

	"github.com/dapr/components-contrib/pubsub"
	psmem "github.com/dapr/components-contrib/pubsub/in-memory"
	psredis "github.com/dapr/components-contrib/pubsub/redis"
	"github.com/dapr/components-contrib/state"
	stmem "github.com/dapr/components-contrib/state/in-memory"
	stredis "github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	"github.com/dapr/dapr/pkg/components/bindings"
	"github.com/dapr/dapr/pkg/components/configuration"
	"github.com/dapr/dapr/pkg/components/conversation"
	"github.com/dapr/dapr/pkg/components/crypto"
	"github.com/dapr/dapr/pkg/components/lock"
	middleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	pubsubs "github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/secretstores"
	states "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

var (
	log     = logger.NewLogger("dapr.runtime")
	contrib = logger.NewLogger("dapr.contrib")
)

func main() {
	o, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatalf("Failed to parse flags: %v", err)
	}
	if o.RuntimeVersion {
		fmt.Println(buildinfo.Version())
		return
	}
	o.Logger.SetAppID(o.AppID)
	if err := logger.ApplyOptionsToLoggers(&o.Logger); err != nil {
		log.Fatal(err)
	}
	log.Infof("Starting Dapr Runtime -- version %s", buildinfo.Version())
	if err := run(signals.Context(), o, components()); err != nil {
		log.Fatalf("Fatal error from runtime: %s", err)
	}
}

// The runtime reads every registry, also those in which nothing is registered.
func components() *registry.Options {
	states.DefaultRegistry.Logger = contrib
	states.DefaultRegistry.RegisterComponent(func(l logger.Logger) state.Store { return stredis.NewRedisStateStore(l) }, "redis")
	states.DefaultRegistry.RegisterComponent(func(l logger.Logger) state.Store { return stmem.NewInMemoryStateStore(l) }, "in-memory")
	pubsubs.DefaultRegistry.Logger = contrib
	pubsubs.DefaultRegistry.RegisterComponent(func(l logger.Logger) pubsub.PubSub { return psredis.NewRedisStreams(l) }, "redis")
	pubsubs.DefaultRegistry.RegisterComponent(func(l logger.Logger) pubsub.PubSub { return psmem.New(l) }, "in-memory")
	bindings.DefaultRegistry.Logger = contrib
	configuration.DefaultRegistry.Logger = contrib
	conversation.DefaultRegistry.Logger = contrib
	crypto.DefaultRegistry.Logger = contrib
	lock.DefaultRegistry.Logger = contrib
	middleware.DefaultRegistry.Logger = log
	nameresolution.DefaultRegistry.Logger = contrib
	secretstores.DefaultRegistry.Logger = contrib
	return registry.NewOptions().
		WithBindings(bindings.DefaultRegistry).
		WithConfigurations(configuration.DefaultRegistry).
		WithConversations(conversation.DefaultRegistry).
		WithCryptoProviders(crypto.DefaultRegistry).
		WithHTTPMiddlewares(middleware.DefaultRegistry).
		WithLocks(lock.DefaultRegistry).
		WithNameResolutions(nameresolution.DefaultRegistry).
		WithPubSubs(pubsubs.DefaultRegistry).
		WithSecretStores(secretstores.DefaultRegistry).
		WithStateStores(states.DefaultRegistry)
}

func run(ctx context.Context, o *options.Options, reg *registry.Options) error {
	health := healthz.New()
	provider, err := security.New(ctx, security.Options{
		ControlPlaneTrustDomain: o.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   o.ControlPlaneNamespace,
		AppID:                   o.AppID,
		MTLSEnabled:             false,
		Mode:                    modes.StandaloneMode,
		Healthz:                 health,
	})
	if err != nil {
		return err
	}
	serve := func(ctx context.Context) error {
		handler, err := provider.Handler(ctx)
		if err != nil {
			return err
		}
		c := config(o)
		c.Registry, c.Security, c.Healthz = reg, handler, health
		c.Metrics.Healthz = health
		rt, err := runtime.FromConfig(ctx, c)
		if err != nil {
			return err
		}
		return rt.Run(ctx)
	}
	return concurrency.NewRunnerManager(provider.Run, serve).Run(ctx)
}

func config(o *options.Options) *runtime.Config {
	return &runtime.Config{
		AppID:                         o.AppID,
		Mode:                          o.Mode,
		ResourcesPath:                 o.ResourcesPath,
		Config:                        o.Config,
		AllowedOrigins:                o.AllowedOrigins,
		ActorsService:                 o.ActorsService,
		SchedulerAddress:              o.SchedulerAddress,
		SchedulerStreams:              o.SchedulerJobStreams,
		AppProtocol:                   o.AppProtocol,
		AppChannelAddress:             o.AppChannelAddress,
		AppMaxConcurrency:             o.AppMaxConcurrency,
		ApplicationPort:               o.AppPort,
		DaprHTTPPort:                  o.DaprHTTPPort,
		DaprAPIGRPCPort:               o.DaprAPIGRPCPort,
		DaprAPIListenAddresses:        o.DaprAPIListenAddresses,
		DaprInternalGRPCPort:          o.DaprInternalGRPCPort,
		DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
		DaprPublicPort:                o.DaprPublicPort,
		DaprPublicListenAddress:       o.DaprPublicListenAddress,
		ProfilePort:                   o.ProfilePort,
		EnableProfiling:               o.EnableProfiling,
		MaxRequestSize:                o.MaxRequestSize,
		ReadBufferSize:                o.ReadBufferSize,
		UnixDomainSocket:              o.UnixDomainSocket,
		DaprGracefulShutdownSeconds:   o.DaprGracefulShutdownSeconds,
		DaprBlockShutdownDuration:     o.DaprBlockShutdownDuration,
		EnableAPILogging:              o.EnableAPILogging,
		DisableInitEndpoints:          o.DisableInitEndpoints,
		EnableAppHealthCheck:          o.EnableAppHealthCheck,
		AppHealthCheckPath:            o.AppHealthCheckPath,
		AppHealthProbeInterval:        o.AppHealthProbeInterval,
		AppHealthProbeTimeout:         o.AppHealthProbeTimeout,
		AppHealthThreshold:            o.AppHealthThreshold,
		Metrics: metrics.Options{
			Enabled:       o.Metrics.Enabled(),
			Log:           log,
			Port:          o.Metrics.Port(),
			ListenAddress: o.Metrics.ListenAddress(),
			Namespace:     metrics.DefaultMetricNamespace,
			Meter:         view.NewMeter(),
		},
	}
}
