import { type ISecurityGroup, type IVpc, SecurityGroup, Subnet, type SubnetSelection, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Construct } from 'constructs';
import type { Settings } from './settings.ts';

/** Where the functions run, when the databases are private: attributes alone, so `cdk synth` needs no account. */
export class Network extends Construct {
  readonly vpc: IVpc;
  readonly vpcSubnets: SubnetSelection;
  readonly securityGroups: ISecurityGroup[];

  constructor(scope: Construct, id: string, given: NonNullable<Settings['vpc']>) {
    super(scope, id);
    const { vpcId, subnetIds, availabilityZones, securityGroupIds } = given;
    this.vpc = Vpc.fromVpcAttributes(this, 'Vpc', { vpcId, availabilityZones, privateSubnetIds: [...subnetIds] });
    this.vpcSubnets = { subnets: subnetIds.map((subnet) => Subnet.fromSubnetId(this, subnet, subnet)) };
    this.securityGroups = securityGroupIds?.map((group) =>
      SecurityGroup.fromSecurityGroupId(this, group, group, { mutable: false }),
    ) ?? [
      new SecurityGroup(this, 'Functions', {
        vpc: this.vpc,
        description: 'vecferry functions: they call, nobody calls them',
      }),
    ];
  }
}
