/**
 * Commands and followers on the clusters of `effect/cluster`.
 *
 * @module eventfold/cluster
 * @since 0.2.0
 */
export * as Cluster from "./Cluster.ts"
export * as ClusterBus from "./ClusterBus.ts"
